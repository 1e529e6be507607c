"""Milliseconds of a step of Muon for eight matrices: ours beside torch's, in turns.

python -m benchmarks.muon [--side 128 256] [--turns 12]
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks import tables
from convmixer.training.muon import BatchedMuon

MATRICES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = []
    for side in args.side:
        optimizers = {}
        for name, kind in (("ours", BatchedMuon), ("torch", torch.optim.Muon)):
            matrices = [torch.nn.Parameter(torch.randn(side, side)) for _ in range(MATRICES)]
            for matrix in matrices:
                matrix.grad = torch.randn(side, side)
            optimizers[name] = kind(matrices)
        times: dict[str, list[float]] = {name: [] for name in optimizers}
        for _ in range(args.turns):
            for name, optimizer in optimizers.items():
                started = time.perf_counter()
                optimizer.step()
                times[name].append((time.perf_counter() - started) * 1e3)
        ours, theirs = (median(times[name]) for name in ("ours", "torch"))
        print(
            f"{MATRICES} of {side}x{side}: ours {ours:.1f} ms, torch {theirs:.1f} ms, {theirs / ours:.1f} times as long"
        )
        rows.append(
            {"side": side, "ours_ms": f"{ours:.2f}", "torch_ms": f"{theirs:.2f}", "ratio": f"{theirs / ours:.2f}"}
        )
    if args.csv:
        tables.put(args.csv, rows)


if __name__ == "__main__":
    main()
