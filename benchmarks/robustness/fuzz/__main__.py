"""Gives every reader of files inputs that were spoilt on purpose, and sees that each is read or refused in one line.

    python -m benchmarks.robustness.fuzz --minutes 10 [--seed 0] [--only checkpoint] [--csv results/fuzz.csv]

Each input begins as a valid file of ours. It is spoilt in its bytes (bits flipped, cut, parts removed, doubled,
swapped or overwritten) or in its structure (values of a YAML, JSON or pickled tree replaced by odd ones, removed or
exchanged, checksums made right again). Among the odd values are pickles and YAML tags that would make a file, the
canary. What must not happen: an exception that is no `UserError`, more than `SECONDS` of time, a file made outside of
the place given, the canary. `tests/files/test_untrusted.py` does the same for a few seconds.
"""

import argparse
import random
import resource
import time
import traceback
from collections import Counter
from pathlib import Path

import torch

from benchmarks import tables
from benchmarks.robustness.fuzz.attempts import TARGETS, attempt, fuzzing_room
from convmixer.tracking import labml_fixes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    labml_fixes.apply()  # it prints nothing then
    names = [args.only] if args.only else list(TARGETS)
    counts = {name: Counter() for name in names}
    broken: dict[str, str] = {}
    end = time.monotonic() + 60 * args.minutes
    number = args.seed
    with fuzzing_room() as room:
        while time.monotonic() < end:
            for name in names:
                seed = f"{name} {number}"
                try:
                    counts[name][attempt(name, random.Random(seed), room)] += 1
                except AssertionError as error:
                    counts[name]["broken"] += 1
                    kind = f"{name}: {str(error)[:100]}"
                    if kind not in broken:
                        broken[kind] = seed
                        print(f"BROKEN by seed {seed!r}", flush=True)
                        traceback.print_exc()
            number += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rows = [
        {"input": name, "tried": sum(c.values()), **{outcome: c[outcome] for outcome in ("read", "refused", "broken")}}
        for name, c in counts.items()
    ]
    for row in rows:
        print(*row.values(), sep="\t")
    print(f"inputs {sum(row['tried'] for row in rows):,}, seeds {args.seed} to {number - 1}, peak memory {peak} MiB")
    if args.csv:
        tables.put(args.csv, rows)


if __name__ == "__main__":
    main()
