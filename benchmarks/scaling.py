"""What a second process brings: images/s of one and of two workers, a thread each, beside one process of two threads.

    python -m benchmarks.scaling data.dataset=images data.path=FOLDER [--rounds 5] [--seconds 6] [--csv FILE]

Each turn is a fresh start by torchrun or python, and trains the recipe `small` (batch 128 in all) as a run does, for
about so many seconds after some updates that are not counted; nothing is recorded. The sides take turns, and a ratio is
of turns of the same round. Two workers are measured with BatchNorm over the whole batch, which PyTorch's operations
compute (the native kernels do the depth-wise convolution alone), and over each worker's images, with the native kernels
throughout; one process with the native kernels and with PyTorch's operations.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks import tables

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 5  # updates
SIDES = {
    "1 process, 2 threads": (0, 2, []),
    "1 process, 1 thread": (0, 1, []),
    "2 workers, BatchNorm over the batch": (2, 1, ["batch_norm_over=batch"]),
    "2 workers, BatchNorm over a worker's": (2, 1, ["batch_norm_over=worker"]),
    "1 process, 2 threads, kernels=torch": (0, 2, ["kernels=torch"]),
    "2 workers, BatchNorm over the batch, kernels=torch": (2, 1, ["batch_norm_over=batch", "kernels=torch"]),
}
BASE = "1 process, 2 threads"


def train(overrides: list[str], seconds: float) -> None:
    """Print images/s, from the first worker; the number of updates is agreed on, as workers must make the same."""
    from convmixer.configs import Configs
    from convmixer.configs.building import build
    from convmixer.configs.overrides import split_assignments
    from convmixer.tracking.labml_fixes import use_project_folder
    from convmixer.training.distributed import torchrun
    from convmixer.training.distributed.workers import ALONE, join

    use_project_folder()
    conf = Configs()
    conf.override(split_assignments(overrides))
    workers = join() if torchrun.is_launched() else ALONE
    experiment = build(conf, workers)
    trainer = experiment.trainer
    trainer.model.train()
    batches = (batch for epoch in itertools.count() for batch in trainer.train.epoch(epoch))
    for _ in range(WARM_UP):
        trainer.train_step(next(batches))
    images, started = trainer.images, perf_counter()
    while not workers.all_reduce_max(int(perf_counter() - started >= seconds)):
        trainer.train_step(next(batches))
    rate = (trainer.images - images) / (perf_counter() - started)
    if workers.is_first:
        print(json.dumps({"rate": rate, "kernels": experiment.kernels.name}))
    workers.leave()


def turn(workers: int, threads: int, overrides: list[str], seconds: float) -> float:
    """Images/s of one start."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={workers}"] if workers else []
    command = [sys.executable, *launcher, "-m" if not workers else "--module", "benchmarks.scaling"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command += [*overrides, "--train", str(seconds)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout.strip().splitlines()[-1])["rate"]


def rows(rates: dict[str, list[float]], rounds: int) -> list[dict[str, object]]:
    """A row for each side, with its ratio to `BASE`."""
    import torch

    from convmixer.training.hardware import cpu_name

    found = []
    for side, values in rates.items():
        ratios = [rate / base for rate, base in zip(values, rates[BASE], strict=True)]
        found.append(
            {
                "what": side,
                "images_per_second": round(median(values)),
                "ratio": round(median(ratios), 2),
                "ratio_min": round(min(ratios), 2),
                "ratio_max": round(max(ratios), 2),
                "rounds": rounds,
                "cpu": cpu_name(),
                "torch": torch.__version__,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("overrides", nargs="+", help="data.dataset=... data.path=...")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one turn of one side")
    parser.add_argument("--csv", type=Path, help="write the figures to this file too")
    parser.add_argument("--train", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.overrides, arguments.train)
        return
    overrides = ["recipe=small", "device=cpu", *arguments.overrides]
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(arguments.rounds):
        for side in list(SIDES) if number % 2 == 0 else reversed(SIDES):
            workers, threads, own = SIDES[side]
            rates[side].append(turn(workers, threads, [*overrides, *own], arguments.seconds))
            print(f"round {number + 1}: {side}: {rates[side][-1]:,.0f} images/s", file=sys.stderr, flush=True)
    table = rows(rates, arguments.rounds)
    for row in table:
        print(*(f"{key}={value}" for key, value in row.items()), sep="  ")
    if arguments.csv:
        tables.put(arguments.csv, table)


if __name__ == "__main__":
    main()
