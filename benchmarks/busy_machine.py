"""Training beside a process that keeps one core busy, and alone: threads that spin briefly where they wait, or long.

    python -m benchmarks.busy_machine --rounds 3 --csv results/busy-machine.csv

Each row is a training of its own, on `shapes`; the settings take turns. Images/s are those after the first update.
`long` is what OMP_DYNAMIC=false leaves, OpenMP's own default; `brief` is ours (convmixer/training/openmp.py).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks import tables

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiment.py"
COMMON = ["data.dataset=shapes", "data.validation=0", "recipe=small"]
MODELS = {
    "16/2": ["d_model=16", "n_layers=2", "steps=200"],
    "small": ["steps=30"],
    "256/8 k5 p2": ["d_model=256", "kernel_size=5", "patch_size=2", "train_batch_size=64", "steps=6"],
}
WAITING = {"brief": {}, "long": {"OMP_DYNAMIC": "false"}}
BUSY = "while True: pass"


def images_per_second(overrides: list[str], environment: dict[str, str]) -> float:
    """Train once in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(EXPERIMENT), *COMMON, *overrides, "--quiet"]
        subprocess.run(command, cwd=folder, env=clean | environment, check=True)
        (file,) = Path(folder).glob("logs/*/*/summary.json")
        summary = json.loads(file.read_text())
    batch = summary["images"] / summary["steps"]
    return (summary["images"] - batch) / (summary["seconds"] - summary["warm_up_seconds"])


def main() -> None:
    """Print the table, and write its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    rates: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for neighbour in ("none", "one busy core"):
            busy = subprocess.Popen([sys.executable, "-c", BUSY]) if neighbour != "none" else None
            try:
                for model, overrides in MODELS.items():
                    for waiting, environment in WAITING.items():
                        rates[model, neighbour, waiting].append(images_per_second(overrides, environment))
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
        print("{model:14}{neighbour:16}{waiting:8}{images_per_second:>8} images/s ({min}..{max})".format(**row))
    if arguments.csv:
        tables.put(arguments.csv, rows)


if __name__ == "__main__":
    main()
