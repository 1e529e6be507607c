"""Inference with BatchNorm folded beside inference without: images/s, in turns, on the CPU.

    python -m benchmarks.folding [--rounds 15] [--threads 1] [--csv FILE]

Both sides are timed by CPU time, in turns within a round; the ratio is of the two in the same round.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, channels_last, nn

from benchmarks import tables
from convmixer.model.folding import fold
from convmixer.model.variants import conv_mixer
from convmixer.training.hardware import describe_device, keep_freed_memory

# d_model, n_layers, kernel_size, patch_size; images at once. `small` and the paper's size with patches of 2.
CASES = {"128/8 k5 p4": (128, 8, 5, 4), "256/8 k7 p2": (256, 8, 7, 2)}
BATCHES = (1, 32)
SHOWN = "{model:<14}batch {batch:>3}  {plain:8.1f} to {folded:8.1f} images/s  {ratio:.2f} ({least:.2f}..{most:.2f})"


def seconds(model: nn.Module, images: Tensor, at_least: float = 0.1) -> float:
    """CPU time of one batch, of as many as take `at_least` this long."""
    n, start = 0, time.process_time()
    while (spent := time.process_time() - start) < at_least:
        model(images)
        n += 1
    return spent / n


@torch.inference_mode()
def measure(numbers: tuple[int, int, int, int], batch: int, rounds: int) -> dict[str, float]:
    """Images per second of CPU time of both sides, and their ratio: median, least, most."""
    plain = conv_mixer(*numbers).eval().to(memory_format=channels_last)
    folded = fold(plain)
    images = torch.rand(batch, 3, 32, 32)
    seconds(plain, images), seconds(folded, images)  # warm up
    times = [(seconds(plain, images), seconds(folded, images)) for _ in range(rounds)]
    ratios = [before / after for before, after in times]
    before, after = (batch / statistics.median(side) for side in zip(*times, strict=True))
    return {
        "plain": round(before, 1),
        "folded": round(after, 1),
        "ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def main() -> None:
    """Print a table, and write it where `--csv` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    where = f"{describe_device(torch.device('cpu'))}, torch {torch.__version__}"
    print(where)
    rows = []
    for name, numbers in CASES.items():
        for batch in BATCHES:
            rows.append({"model": name, "batch": batch, **measure(numbers, batch, arguments.rounds), "where": where})
            print(SHOWN.format(**rows[-1]), flush=True)
    if arguments.csv:
        tables.put(arguments.csv, rows)


if __name__ == "__main__":
    main()
