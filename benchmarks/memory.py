"""Peak resident memory of a training beside labml_nn's, each in a process of its own.

    python -m benchmarks.memory [--steps 3] [--csv results/memory.csv]

Both take the steps of `python -m benchmarks.throughput`: ours the recipe `small`'s, theirs those of labml_nn's
experiment. The data set is in memory in both. `imports` is a process that only imports what the side needs.
"""

import argparse
import subprocess
import sys
from itertools import product
from pathlib import Path

from benchmarks import tables
from benchmarks.tables import PROJECT

CASES = (("small", 128), ("256/8", 256))
CODE = """
import resource, sys
from benchmarks.throughput import our_step, their_step
side, model, batch, steps = sys.argv[1:]
if side == "theirs": import labml_nn.conv_mixer, labml_nn.optimizers.adam
if int(steps):
    step = (our_step if side == "ours" else their_step)(model, int(batch))
    for _ in range(int(steps)): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(side: str, model: str, batch: int, steps: int) -> int:
    """Return the peak resident memory in MiB of a process that takes so many steps."""
    command = [sys.executable, "-c", CODE, side, model, str(batch), str(steps)]
    ended = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    return int(ended.stdout.splitlines()[-1])


def main() -> None:
    """Print the table, and write its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = []
    for (model, batch), side in product(CASES, ("ours", "theirs")):
        sizes = {"peak_mib": peak(side, model, batch, args.steps), "imports_mib": peak(side, model, batch, 0)}
        rows.append({"model": model, "batch": batch, "side": side, **sizes})
        print(
            "{model:6} batch {batch:4}, {side:7}{peak_mib:6} MiB, of these imports {imports_mib} MiB".format(**rows[-1])
        )
    if args.csv:
        tables.put(args.csv, rows)


if __name__ == "__main__":
    main()
