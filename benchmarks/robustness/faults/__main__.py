"""What becomes of a run when something happens to it: real runs, disturbed on purpose.

    python -m benchmarks.robustness.faults kills --n 200 --seed 0 --csv results/faults.csv
    python -m benchmarks.robustness.faults others --n 40 --csv results/faults.csv
    python -m benchmarks.robustness.faults full-disk hang-up --n 5
    python -m benchmarks.robustness.faults show --csv results/faults.csv             # as the table in docs/faults.md

Each run has all options on (`lab.OPTIONS`), and must end with the bits of one that was left alone. Exit status 1: one
did not. `--n`: how often, for what can come in many ways. Folders are made in --folder (a temporary one), and removed
unless something went wrong there. Linux; as root, as file systems are mounted.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # no thread may live when this process forks

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.robustness.faults.all import ALL, OTHERS
from benchmarks.robustness.faults.lab import OPTIONS, Lab
from benchmarks.robustness.faults.table import add_row, markdown, read_rows


def main() -> None:
    """Try faults, print what became of the runs, and add rows to a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="+", choices=("show", "others", *ALL))
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="put a row for each fault into this table")
    parser.add_argument("--folder", type=Path, help="where to make folders")
    args = parser.parse_args()
    if args.faults == ["show"]:
        print(markdown(read_rows(args.csv), ALL))
        return
    lab = Lab(Path(tempfile.mkdtemp(prefix="faults-", dir=args.folder)), OPTIONS)
    problems: list[str] = []
    for fault in OTHERS if args.faults == ["others"] else args.faults:
        outcome = ALL[fault](lab, args.n, args.seed)
        problems += outcome.problems
        command = f"python -m benchmarks.robustness.faults {fault} --n {args.n} --seed {args.seed}"
        row = outcome.row(fault, lab.without_names, command)
        print("; ".join(f"{name}: {row[name]}" for name in ("fault", "tried", "lost", "status", "message", "ended")))
        sys.stdout.flush()
        if args.csv:
            add_row(args.csv, row)
    if problems:
        sys.exit(f"see {lab.root}")
    shutil.rmtree(lab.root)


if __name__ == "__main__":
    main()
