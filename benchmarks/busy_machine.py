"""Training beside a process that keeps one core busy, and alone: threads that spin briefly where they wait, or long.

    python -m benchmarks.busy_machine --rounds 3 --csv results/busy-machine.csv

Each row is a training of its own, on `shapes`; the settings take turns. Images/s are those after the first update.
`long` is what OMP_DYNAMIC=false leaves, OpenMP's own default; `brief` is ours (convmixer/training/openmp.py).
`labml_nn` is labml_nn's training steps, as in benchmarks/throughput.py, with that default.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from benchmarks import tables
from benchmarks.throughput import Sizes, their_step
from benchmarks.timed_run import images_per_second, train


class Training(NamedTuple):
    """What is trained in a row, ours and theirs; `steps` and `their_steps` take a few seconds."""

    sizes: Sizes
    batch: int
    steps: int
    their_steps: int


MODELS = {
    "16/2": Training(Sizes(16, 2, 5, 4), 128, steps=200, their_steps=100),
    "small": Training(Sizes(128, 8, 5, 4), 128, steps=30, their_steps=15),
    "256/8 k5 p2": Training(Sizes(256, 8, 5, 2), 64, steps=6, their_steps=6),
}
WAITING = {"brief": {}, "long": {"OMP_DYNAMIC": "false"}}
BUSY = "while True: pass"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}


def our_images_per_second(training: Training, environment: dict[str, str]) -> float:
    """Train once in a process of its own."""
    values = {"data.dataset": "shapes", "data.validation": 0, "recipe": "small", **training.sizes._asdict()}
    values |= {"train_batch_size": training.batch, "steps": training.steps}
    return images_per_second(train(tables.PROJECT / "experiment.py", values, CLEAN | environment))


def time_their_steps(training: Training) -> None:
    """Print the images/s of labml_nn's training steps in this process, after the first one."""
    step = their_step(training.sizes, training.batch)
    step()
    started = time.perf_counter()
    for _ in range(training.their_steps):
        step()
    print(training.batch * training.their_steps / (time.perf_counter() - started))


def their_images_per_second(model: str) -> float:
    """Have labml_nn's network trained in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.busy_machine", "--theirs", model]
    ended = subprocess.run(command, env=CLEAN, stdout=subprocess.PIPE, text=True, check=True)
    return float(ended.stdout.split()[-1])  # labml prints lines of its own


def main() -> None:
    """Print the table, and write its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--theirs", choices=MODELS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        time_their_steps(MODELS[arguments.theirs])
        return
    rates: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for neighbour in ("none", "one busy core"):
            busy = subprocess.Popen([sys.executable, "-c", BUSY]) if neighbour != "none" else None
            try:
                for model, training in MODELS.items():
                    for waiting, environment in WAITING.items():
                        rates[model, neighbour, waiting].append(our_images_per_second(training, environment))
                    rates[model, neighbour, "labml_nn"].append(their_images_per_second(model))
            finally:
                if busy:
                    busy.kill()
    rows = [
        {
            "model": model,
            "neighbour": neighbour,
            "waiting": waiting,
            "images_per_second": f"{statistics.median(found):.0f}",
            "min": f"{min(found):.0f}",
            "max": f"{max(found):.0f}",
        }
        for (model, neighbour, waiting), found in rates.items()
    ]
    for row in rows:
        print("{model:14}{neighbour:16}{waiting:10}{images_per_second:>8} images/s ({min}..{max})".format(**row))
    if arguments.csv:
        tables.put(arguments.csv, rows)


if __name__ == "__main__":
    main()
