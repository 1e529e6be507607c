"""Measures every table of results/ again, or says which of their rows are old.

    python -m benchmarks.everything --hours 8 [--only throughput.csv kernels.csv]
    python -m benchmarks.everything check

Measuring takes the tables in the order below. A command whose rows are there, and newer than the code that they
measure, is not run again, so the same call continues after an interruption. A command is begun only if it ends within
the hours, by the minutes that stand beside it (two cores with AVX2). One that fails is named, and the next one follows.
Nothing else should run on the machine. CIFAR-10 is `data/`'s or the cache's, as for `python experiment.py`.

`check` names each row without the command or the commit that it was measured by, and each whose code has changed since.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tables
from benchmarks.recipes import TRAINING
from benchmarks.robustness.faults.all import OTHERS
from benchmarks.tables import PROJECT, RESULTS
from convmixer.console import counted


@dataclass(frozen=True)
class Table:
    """A file of results/.

    Attributes:
        file: its name.
        commands: they write its rows, with `--csv FILE` behind them, unless they do so by themselves.
        minutes: the time that one command takes.
        measures: files and folders of the code that decides the figures.
    """

    file: str
    commands: Sequence[str]
    minutes: float
    measures: Sequence[str]

    @property
    def path(self) -> Path:
        return RESULTS / self.file


def _recipe(overrides: str) -> str:
    return f"python -m benchmarks.recipes train data.dataset=cifar10 {overrides} --seeds 3"


LADDER = "data.dataset=cifar10 epochs=3 train_batch_size=128"
LADDER_MEASURES = (*TRAINING, "benchmarks/peers.py", "benchmarks/ladder.py")

TABLES = (
    Table("recipes.csv", [_recipe("recipe=small minutes=5")], 20, TRAINING),
    Table(
        "recipes.csv",
        [
            _recipe("recipe=small minutes=20"),
            _recipe("recipe=medium minutes=20 data.validation=0"),
            _recipe("recipe=small"),
            _recipe("recipe=medium"),
        ],
        75,
        TRAINING,
    ),
    Table(
        "throughput.csv",
        ["python -m benchmarks.throughput --against labml_nn kernels=torch --rounds 5 --seconds 3"],
        8,
        ("convmixer/model", "convmixer/training", "benchmarks/throughput.py"),
    ),
    Table(
        "kernels.csv",
        [f"python -m benchmarks.kernels --threads {threads} --rounds 9" for threads in (1, 2)],
        5,
        ("convmixer/model/kernels", "convmixer/model/layers.py", "benchmarks/kernels.py"),
    ),
    *(
        Table(
            f"profile-small-{kernels}.csv",
            [f"python -m benchmarks.profile recipe=small kernels={kernels} --steps 20"],
            1,
            ("convmixer/model", "convmixer/training", "benchmarks/profile.py"),
        )
        for kernels in ("torch", "native")
    ),
    Table(
        "augmentation.csv",
        ["python -m benchmarks.augmentation data.dataset=cifar10"],
        4,
        ("convmixer/data/augmentation", "benchmarks/augmentation.py"),
    ),
    Table("startup.csv", ["python -m benchmarks.startup data.dataset=cifar10"], 1, ("convmixer",)),
    Table("commits.csv", ["python -m benchmarks.commits 4e32f9b793 9ab6c7a HEAD"], 5, ("benchmarks/commits.py",)),
    Table("memory.csv", ["python -m benchmarks.memory"], 2, TRAINING),
    Table("busy-machine.csv", ["python -m benchmarks.busy_machine --rounds 3"], 13, ("convmixer/training/openmp.py",)),
    Table("muon.csv", ["python -m benchmarks.muon"], 1, ("convmixer/training/muon.py",)),
    Table(
        "dashboard.csv",
        [
            "python -m benchmarks.dashboard",
            "python -m benchmarks.dashboard --runs 2000 --points 100",
            "python -m benchmarks.dashboard --runs 1 --points 1000000",
        ],
        5,
        ("convmixer/dashboard", "convmixer/tracking"),
    ),
    Table(
        "sweeps.csv",
        [f"python -m benchmarks.sweeps {what}" for what in ("overhead", "search")],
        10,
        ("convmixer/sweeps",),
    ),
    Table("tracking.csv", ["python -m benchmarks.tracking"], 5, ("convmixer/tracking",)),
    Table("folding.csv", ["python -m benchmarks.folding"], 5, ("convmixer/model/folding.py",)),
    Table("scaling.csv", ["python -m benchmarks.scaling data.dataset=cifar10 --rounds 3"], 4, TRAINING),
    Table("large-data.csv", ["python -m benchmarks.large_data"], 10, ("convmixer/data",)),
    Table("cifar-sources.csv", ["python -m benchmarks.cifar_sources"], 5, ("convmixer/data", "convmixer/files")),
    Table(
        "faults.csv",
        [
            *(f"python -m benchmarks.robustness.faults {cuts} --n 50 --seed 1" for cuts in ("kills", "power-cuts")),
            *(f"python -m benchmarks.robustness.faults {fault} --n 5 --seed 0" for fault in OTHERS),
        ],
        15,
        ("convmixer/experiment", "convmixer/tracking", "convmixer/training/run_checkpoints.py"),
    ),
    Table(
        "fuzz.csv", ["python -m benchmarks.robustness.fuzz --minutes 12"], 13, ("convmixer/files", "convmixer/trained")
    ),
    Table(
        "ablations.csv",
        ["python -m benchmarks.ablations data.dataset=cifar10 d_model=96 n_layers=4 epochs=2 --seeds 3"],
        90,
        TRAINING,
    ),
    *(
        Table("ladder.csv", [f"python -m benchmarks.ladder {LADDER} {size}".strip()], minutes, LADDER_MEASURES)
        for size, minutes in (("d_model=64 n_layers=4 patch_size=4", 30), ("", 900))
    ),
    Table("trials.csv", [], 0, TRAINING),  # by the commands in its rows
)
MAKE_THEIR_OWN_ROWS = ("benchmarks.recipes", "benchmarks.ablations", "benchmarks.ladder")


def old_rows(table: Table) -> dict[str, int]:
    """Return the reasons why rows have to be measured again, each with the number of rows."""
    reasons = (tables.why_old(row, table.measures) for row in tables.read(table.path))
    return Counter(reason for reason in reasons if reason)


def is_there(table: Table, command: str) -> bool:
    """Return True if a command's rows are in its table, and stand."""
    rows = [row for row in tables.read(table.path) if row.get("command") == command]
    return bool(rows) and not any(tables.why_old(row, table.measures) for row in rows)


def measure(chosen: Sequence[Table], hours: float) -> list[str]:
    """Run the commands of tables that fit into so many hours; return those that failed."""
    end, failed = time.monotonic() + 3600 * hours, []
    for table in chosen:
        for command in table.commands:
            if is_there(table, command):
                print(f"{table.file}: there: {command}")
            elif time.monotonic() + 60 * table.minutes > end:
                print(f"{table.file}: left out, takes {table.minutes:.0f} minutes: {command}")
            elif run(table, command):
                failed.append(command)
    return failed


def run(table: Table, command: str) -> int:
    """Run a command, say how long it took, and return its exit status."""
    print(f"{table.file}: {command}", flush=True)
    words = [sys.executable, *command.split()[1:]]
    if words[2] not in MAKE_THEIR_OWN_ROWS:
        words += ["--csv", str(table.path)]
    began = time.monotonic()
    status = subprocess.run(words, cwd=PROJECT).returncode
    took = (time.monotonic() - began) / 60
    print(f"{table.file}: {f'failed with status {status}' if status else 'done'} after {took:.1f} minutes", flush=True)
    return status


def check() -> int:
    """Print the rows that have to be measured again; return how many files have some."""
    old_files = set()
    for name, table in {table.file: table for table in TABLES}.items():
        reasons = old_rows(table) if table.path.exists() else {"never measured": 0}
        for reason, rows in reasons.items():
            old_files.add(name)
            print(", ".join([name, *([counted(rows, "row")] if rows else [])]) + f": {reason}")
    return len(old_files)


def main() -> None:
    """Measure or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=("measure", "check"), default="measure")
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", choices=sorted({table.file for table in TABLES}), metavar="FILE")
    args = parser.parse_args()
    if args.action == "check":
        sys.exit(1 if check() else 0)
    failed = measure([table for table in TABLES if table.file in (args.only or [table.file])], args.hours)
    if failed:
        sys.exit("failed:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
