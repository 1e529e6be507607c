"""What recipes reach: results/recipes.csv has a row for each run, with its command, hardware and versions.

    python -m benchmarks.recipes train KEY=VALUE ... [--seeds 3] # trains what has no row yet, then evaluates it
    python -m benchmarks.recipes add RUN ...                     # adds runs: uuids, their beginnings, `last` or `best`

With OMP_NUM_THREADS in the environment, the commands of the rows begin with it; `add` needs the value of the training.
`test` is the accuracy on the test split, measured once, with the images as they are. `test_shifts` is that with six
test-time views (`evaluate --tta shifts`). `train` ends with the mean and the deviation over the seeds.
"""

import argparse
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from benchmarks import tables
from benchmarks.tables import PROJECT, Row
from convmixer.configs.overrides import split_assignments
from convmixer.console import as_argument
from convmixer.errors import UserError
from convmixer.tracking.runs import Run, run

TABLE = tables.RESULTS / "recipes.csv"
TRAINING = (  # what decides a figure
    "convmixer/model",
    "convmixer/training",
    ":!convmixer/training/openmp.py",  # this changes times alone
    "convmixer/data",
    tables.RECIPES,
)
EXPERIMENT = [sys.executable, str(PROJECT / "experiment.py")]


def train(overrides: Iterable[str]) -> Run:
    """Train one run, with its output on the terminal, and return it.

    Raises:
        UserError: it did not end well; what it said stands above.
    """
    overrides, identity = list(overrides), uuid.uuid1().hex
    ended = subprocess.run(
        [*EXPERIMENT, *overrides], env=os.environ | {"RUN_UUID": identity}
    )  # labml takes it from there
    if ended.returncode:
        raise UserError(f"a run did not end well: {' '.join(overrides)}")
    return run(identity)


def with_views(finished: Run, views: str) -> float:
    """Return the accuracy on the test split with test-time views."""
    command = [*EXPERIMENT, "evaluate", finished.uuid, "--tta", views, "--json", "-"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout)[f"top_1_with_{views}"]["accuracy"]


def row(finished: Run) -> Row:
    """Return a run's result, as it stands in the table.

    Raises:
        UserError: the run has not ended.
    """
    summary = finished.summary
    if not summary:
        raise UserError(f"run {finished.uuid[:8]} has not ended")
    versions = summary["versions"]
    return {
        "recipe": summary["recipe"],
        "data": summary["data"],
        "test": f"{summary['accuracy.test']:.4f}",
        "valid": f"{summary['accuracy.valid']:.4f}" if "accuracy.valid" in summary else "",
        "weights": summary["weights"],
        "seed": summary["configs"]["seed"],
        "epochs": f"{summary['epochs']:.4g}",
        "minutes": f"{summary['seconds'] / 60:.1f}",
        "images_per_second": f"{summary['images_per_second']:.0f}",
        "parameters": summary["parameters"],
        "device": summary["device"],
        "kernels": summary["kernels"],
        "precision": summary["precision"],
        "python": versions["python"],
        "torch": versions["torch"],
        "commit": summary["git"]["commit"][:10],
        "date": summary["ended"][:10],
        "command": command_of((as_argument(name, value) for name, value in finished.given.items()), summary["script"]),
        "updates": summary["steps"],
    }


def evaluated_row(finished: Run) -> Row:
    """Return a run's result, with test-time views too."""
    return {**row(finished), "test_shifts": f"{with_views(finished, 'shifts'):.4f}"}


def command_of(overrides: Iterable[str], script: str = "experiment.py") -> str:
    """Return the command of a run, as it stands in the table: without paths, in the order of the keys' names."""
    threads = os.environ.get("OMP_NUM_THREADS")
    environment = [f"OMP_NUM_THREADS={threads}"] if threads else []
    return tables.shown([*environment, "python", script, *sorted(overrides)])


def train_seeds(table: Path, overrides: list[str], seeds: int) -> list[Row]:
    """Train and evaluate the seeds that have no row newer than the code; return the rows of all of them."""
    commands = [command_of([*overrides, f"seed={seed}"]) for seed in range(seeds)]
    there = {row["command"] for row in tables.read(table) if not tables.why_old(row, TRAINING)}
    for seed, command in enumerate(commands):
        if command not in there:
            finished = train([*overrides, f"seed={seed}"])
            tables.put(table, [{**evaluated_row(finished), "command": command}], key=("command",))
    return [row for row in tables.read(table) if row["command"] in commands]


def summary(rows: list[Row], column: str) -> str:
    """Return a column's mean, deviation and values, in words."""
    values = [float(row[column]) for row in rows if row.get(column)]
    deviation = f" ± {stdev(values):.2%}" if len(values) > 1 else ""
    values_shown = ", ".join(f"{value:.2%}" for value in values)
    return f"{column:12} {mean(values):.2%}{deviation} of {len(values)}: {values_shown}"


def main() -> None:
    """Train, or add rows of what was trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "add"))
    parser.add_argument("words", nargs="+", metavar="KEY=VALUE|RUN")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--csv", type=Path, default=TABLE)
    args = parser.parse_args()
    try:
        if args.action == "add":
            tables.put(args.csv, [evaluated_row(run(name)) for name in args.words], key=("command", "date"))
            return
        split_assignments(args.words)
        rows = train_seeds(args.csv, args.words, args.seeds)
    except UserError as error:
        sys.exit(f"error: {error}")
    for column in ("test", "test_shifts", "valid"):
        print(summary(rows, column))


if __name__ == "__main__":
    main()
