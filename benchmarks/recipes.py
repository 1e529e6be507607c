"""Adds what finished runs reached to results/recipes.csv, a row each: with its command, hardware and versions.

python -m benchmarks.recipes RUN ... [--csv FILE]          # uuids, their beginnings, `last` or `best`
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

from convmixer.console import as_argument
from convmixer.errors import UserError
from convmixer.tracking.runs import Run, run

TABLE = Path(__file__).parents[1] / "results" / "recipes.csv"


def row(finished: Run) -> dict[str, Any]:
    """A run's result, as it stands in the table.

    Raises:
        UserError: the run has not ended.
    """
    summary = finished.summary
    if not summary:
        raise UserError(f"run {finished.uuid[:8]} has not ended")
    given = {name: value for name, value in finished.given.items() if name != "data.path"}
    arguments = " ".join(as_argument(name, value) for name, value in given.items())
    path = " data.path=FOLDER" if "data.path" in finished.given else ""
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
        "precision": summary["precision"],
        "python": versions["python"],
        "torch": versions["torch"],
        "commit": summary["git"]["commit"][:10],
        "date": summary["ended"][:10],
        "command": f"python experiment.py {arguments}{path}",
    }


def add_rows(table: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows of the same columns to a table, which is begun where there is none."""
    is_new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def commit() -> str:
    """The first ten digits of the commit that is checked out."""
    arguments = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(arguments, cwd=TABLE.parent, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Append the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--csv", type=Path, default=TABLE)
    args = parser.parse_args()
    try:
        rows = [row(run(name)) for name in args.runs]
    except UserError as error:
        sys.exit(f"error: {error}")
    add_rows(args.csv, rows)
    for added in rows:
        print(f"{added['recipe']} on {added['data']}: test {added['test']} -> {args.csv}")


if __name__ == "__main__":
    main()
