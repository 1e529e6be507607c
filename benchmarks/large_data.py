"""Trains on a data set that is larger than the memory it may take, and on the same one in memory: same bits?

    python -m benchmarks.large_data [--images 30000] [--side 128] [--cap 1400] [--csv results/large-data.csv]

The images are drawn, kept as a .zip of small PNGs and decoded at `--side` pixels. Each run is `experiment.py` as a
process of its own whose data segment, everything it holds in memory but files that are mapped, is capped by
`ulimit -d` (MB). In order: decoding and training under the cap with the key `data.resident` left alone; training in
memory without a cap; training in memory under the cap, which must be refused in one line. `peak` is the most anonymous
memory (RssAnon) that was seen, looked at 50 times a second; the page cache is not in it.
"""

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from benchmarks import tables

PROJECT = Path(__file__).resolve().parents[1]
MEGA = 10**6  # bytes
# A network that takes next to nothing, so that what is measured is the data.
NETWORK = ("d_model=8", "n_layers=1", "patch_size=16", "steps=30", "data.validation=1000", "valid_batch_size=64")
CHANGING = "time."  # metrics that are never the same


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Attributes:
        peak_mb: of anonymous memory.
        said: where its images were, or why it was refused.
    """

    run: str
    set_mb: int
    cap_mb: int | None
    peak_mb: int
    status: int
    said: str


def draw_images(path: Path, n: int) -> None:
    """A .zip of `n` training and `n // 20` test images of 8x8 random pixels, in two classes."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train", n), ("test", n // 20)):
            for i in range(count):
                buffer = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG", compress_level=1)
                archive.writestr(f"{split}/{'ab'[i % 2]}/{i}.png", buffer.getvalue())


def train(folder: Path, name: str, overrides: list[str], set_bytes: int, cap_mb: int | None = None) -> Outcome:
    """A run in `folder` under a cap, watched."""

    def limit() -> None:
        if cap_mb:
            resource.setrlimit(resource.RLIMIT_DATA, (cap_mb * MEGA, cap_mb * MEGA))

    with open(folder / f"{name}.txt", "w+") as said:
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "experiment.py"), f"name={name}", *NETWORK, *overrides],
            cwd=folder,
            stdout=said,
            stderr=subprocess.STDOUT,
            preexec_fn=limit,
        )
        peak = _watch(process)
        said.seek(0)
        lines = said.read().splitlines()
    line = next((line for line in lines if line.startswith(("images  ", "error: "))), "in memory")
    return Outcome(name, set_bytes // MEGA, cap_mb, peak // MEGA, process.returncode, line)


def _watch(process: subprocess.Popen) -> int:
    peak, status = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            memory = status.memory_info()
            peak = max(peak, memory.rss - memory.shared)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    process.wait()
    return peak


def same_results(folder: Path, one: str, other: str) -> bool:
    """Whether two runs ended with the same bits: every weight of the last checkpoint, every metric that is no time."""
    from convmixer.tracking.runs import Run
    from convmixer.training import checkpoints

    runs = [Run(next((folder / "logs" / name).iterdir())) for name in (one, other)]
    states = [checkpoints.load(run.checkpoint("last"))["model"] for run in runs]
    metrics = [run.metrics.loc[:, lambda table: ~table.columns.str.startswith(CHANGING)] for run in runs]
    same_weights = all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
    return same_weights and states[0].keys() == states[1].keys() and metrics[0].equals(metrics[1])


def measure(folder: Path, n: int, side: int, cap_mb: int) -> list[Outcome]:
    """The three runs."""
    draw_images(folder / "images.zip", n)
    data = ["data.dataset=images", f"data.path={folder / 'images.zip'}", f"data.image_size={side}"]
    size = n * side * side * 3
    return [
        train(folder, "capped", data, size, cap_mb),
        train(folder, "resident", [*data, "data.resident=true"], size),
        train(folder, "resident-capped", [*data, "data.resident=true"], size, cap_mb),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--cap", type=int, default=1400, help="MB")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = measure(Path(folder), args.images, args.side, args.cap)
        for outcome in outcomes:
            print(outcome)
        same = same_results(Path(folder), "capped", "resident")
    print(f"same bits in memory and from disk: {same}")
    if args.csv:
        tables.put(args.csv, [{**asdict(outcome), "same_bits": same} for outcome in outcomes])


if __name__ == "__main__":
    main()
