"""What a change of the code cost or gained: commits beside each other on this machine, in turns.

    python -m benchmarks.commits 4e32f9b793 9ab6c7a HEAD [--rounds 5] [--csv results/commits.csv]

Each commit is put into a folder of its own. Times are medians over the rounds:
    images_per_second  of `small`, 60 updates on the generated images and their validation, after the first update
    other_seconds      of the same command beside the training: imports, images, test, files
    help_seconds       of `python experiment.py --help`
The rest describes the package `convmixer`: its files of Python, their lines, and the longest file's lines.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from benchmarks import tables
from benchmarks.timed_run import images_per_second, train

TRAINING = {"data.dataset": "shapes", "recipe": "small", "steps": 60}


def check_out(commit: str, folder: Path) -> None:
    """Put a commit's files into a folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=tables.PROJECT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def measure(folder: Path) -> dict[str, float]:
    """Time one training and one `--help` of a commit."""
    script, started = folder / "experiment.py", time.perf_counter()
    summary = train(script, TRAINING)
    trained = time.perf_counter()
    subprocess.run([sys.executable, str(script), "--help"], stdout=subprocess.DEVNULL, check=True)
    return {
        "images_per_second": images_per_second(summary),
        "other_seconds": trained - started - summary["seconds"],
        "help_seconds": time.perf_counter() - trained,
    }


def size(folder: Path) -> dict[str, int]:
    """Return how many files and lines the package has."""
    lines = [len(file.read_text().splitlines()) for file in folder.glob("convmixer/**/*.py")]
    return {"files": len(lines), "lines": sum(lines), "longest_file": max(lines)}


def row(commit: str, folder: Path, times: list[dict[str, float]]) -> tables.Row:
    """Return a commit's row: the medians of its times, the spread of the speed, and its size."""
    medians = {name: statistics.median(seconds[name] for seconds in times) for name in times[0]}
    rates = [seconds["images_per_second"] for seconds in times]
    return {
        "measured": commit,
        "images_per_second": f"{medians['images_per_second']:.0f}",
        "min": f"{min(rates):.0f}",
        "max": f"{max(rates):.0f}",
        "other_seconds": f"{medians['other_seconds']:.2f}",
        "help_seconds": f"{medians['help_seconds']:.2f}",
        **size(folder),
    }


def main() -> None:
    """Print a row for each commit, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        commits = [tables.git("rev-parse", "--short=10", commit) for commit in arguments.commits]
        folders = {commit: Path(temporary, commit) for commit in commits}
        for commit, folder in folders.items():
            check_out(commit, folder)
            measure(folder)  # compiles the kernels
        times: dict[str, list[dict[str, float]]] = {commit: [] for commit in commits}
        for _ in range(arguments.rounds):
            for commit, folder in folders.items():
                times[commit].append(measure(folder))
        rows = [row(commit, folder, times[commit]) for commit, folder in folders.items()]
    for measured in rows:
        print(
            "{measured}  {images_per_second:>6} images/s ({min}..{max})  beside training {other_seconds} s"
            "  --help {help_seconds} s  {files} files, {lines} lines, the longest {longest_file}".format(**measured)
        )
    if arguments.csv:
        tables.put(arguments.csv, rows)


if __name__ == "__main__":
    main()
