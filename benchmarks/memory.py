"""Peak resident memory of a training beside labml_nn's, each in a process of its own.

    python -m benchmarks.memory [--steps 3] [--rounds 5] [--csv results/memory.csv]

Both take the steps of `python -m benchmarks.throughput`: ours the recipe `small`'s, theirs those of labml_nn's
experiment. The data set is in memory in both. `imports` is a process that only imports what the side needs. Peaks
differ between processes, by how their threads met: medians, with the least and the most.
"""

import argparse
import subprocess
import sys
from importlib import import_module
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks import tables
from benchmarks.tables import PROJECT
from benchmarks.throughput import MODELS, our_step, their_step

CASES = (("small", 128), ("256/8", 256))
SIDES = {"ours": our_step, "theirs": their_step}


def peak(side: str, model: str, batch: int, steps: int) -> int:
    """Return the peak resident memory in MiB of a process that takes so many steps."""
    process = [sys.executable, "-m", "benchmarks.memory", "--process", side, model, str(batch), "--steps", str(steps)]
    ended = subprocess.run(process, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    return int(ended.stdout.splitlines()[-1])


def take_steps(side: str, model: str, batch: str, steps: int) -> None:
    """Take so many steps in this process, and print its peak resident memory in MiB."""
    if side == "theirs":
        import_module("labml_nn.conv_mixer")
        import_module("labml_nn.optimizers.adam")
    if steps:
        step = SIDES[side](MODELS[model], int(batch))
        for _ in range(steps):
            step()
    print(peak_of_this_process())


def peak_of_this_process() -> int:
    """Return its peak resident memory in MiB, from Linux: `getrusage` begins with that of the process that began it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


def main() -> None:
    """Print the table, and write its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--process", nargs=3, metavar=("SIDE", "MODEL", "BATCH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.process:
        take_steps(*args.process, args.steps)
        return
    rows = []
    for (model, batch), side in product(CASES, SIDES):
        peaks = sorted(peak(side, model, batch, args.steps) for _ in range(args.rounds))
        sizes = {"peak_mib": median(peaks), "peak_min": peaks[0], "peak_max": peaks[-1]}
        rows.append({"model": model, "batch": batch, "side": side, **sizes, "imports_mib": peak(side, model, batch, 0)})
        print(
            "{model:6} batch {batch:4}, {side:7}{peak_mib:6} MiB ({peak_min} to {peak_max}), "
            "of these imports {imports_mib} MiB".format(**rows[-1])
        )
    if args.csv:
        tables.put(args.csv, rows)


if __name__ == "__main__":
    main()
