"""Training beside a process that keeps one core busy, and alone: threads that spin briefly where they wait, or long.

    python -m benchmarks.busy_machine --rounds 3 --csv results/busy-machine.csv

Each row is a training of its own, on `shapes`; the settings take turns. Images/s are those after the first update.
`long` is what OMP_DYNAMIC=false leaves, OpenMP's own default; `brief` is ours (convmixer/training/openmp.py).
`labml_nn` is labml_nn's training steps, as in benchmarks/throughput.py, with that default.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from benchmarks import tables, throughput


class Training(NamedTuple):
    """What is trained in a row, ours and theirs; `steps` and `their_steps` take a few seconds."""

    sizes: throughput.Sizes
    batch: int
    steps: int
    their_steps: int


MODELS = {
    "16/2": Training((16, 2, 5, 4), 128, steps=200, their_steps=100),
    "small": Training((128, 8, 5, 4), 128, steps=30, their_steps=15),
    "256/8 k5 p2": Training((256, 8, 5, 2), 64, steps=6, their_steps=6),
}
WAITING = {"brief": {}, "long": {"OMP_DYNAMIC": "false"}}
BUSY = "while True: pass"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}


def images_per_second(training: Training, environment: dict[str, str]) -> float:
    """Train once in a process of its own."""
    network = dict(zip(throughput.SIZE_KEYS, training.sizes, strict=True))
    values = {"data.dataset": "shapes", "data.validation": 0, "recipe": "small", **network}
    values |= {"train_batch_size": training.batch, "steps": training.steps}
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"{key}={value}" for key, value in values.items()]
        command = [sys.executable, str(tables.PROJECT / "experiment.py"), *overrides, "--quiet"]
        subprocess.run(command, cwd=folder, env=CLEAN | environment, check=True)
        (file,) = Path(folder).glob("logs/*/*/summary.json")
        summary = json.loads(file.read_text())
    batch = summary["images"] / summary["steps"]
    return (summary["images"] - batch) / (summary["seconds"] - summary["warm_up_seconds"])


def time_their_steps(training: Training) -> None:
    """Print the images/s of labml_nn's training steps in this process, after the first one."""
    step = throughput.their_step(training.sizes, training.batch)
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
                        rates[model, neighbour, waiting].append(images_per_second(training, environment))
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
