"""What the machine can do at most: the rate of a copy and of a product of matrices; and how time is taken on it."""

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.stages import Table

WARM_UP, LEAST = 3, 5


@dataclass(frozen=True)
class Machine:
    """Bytes/s count what is read and what is written; FLOP/s are of a bfloat16 product, on a CPU a float32 one."""

    device: str
    torch: str
    triton: str
    cudnn: str
    commit: str
    bytes_per_second: float
    flops_per_second: float


def milliseconds(run: Callable[[], Any], device: torch.device, seconds: float = 0.3) -> float:
    """The median of repeated runs, after some that warm up; on a GPU by its own clock."""
    for _ in range(WARM_UP):
        run()
    wait(device)
    times, until = [], time.perf_counter() + seconds
    while len(times) < LEAST or time.perf_counter() < until:
        times.append(_timed(run, device))
    return median(times)


def _timed(run: Callable[[], Any], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        run()
        return (time.perf_counter() - started) * 1e3
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    run()
    last.record()
    last.synchronize()
    return first.elapsed_time(last)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(folder: Path, device: torch.device, commit: str, numbers: int, side: int) -> None:
    """Write machine.csv, from copying `numbers` float32 and a product of matrices of `side` x `side`."""
    one, other = torch.randn(numbers, device=device), torch.empty(numbers, device=device)
    copied = 8 * numbers / milliseconds(lambda: other.copy_(one), device) * 1e3
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32)
    product = 2 * side**3 / milliseconds(lambda: matrix @ matrix, device) * 1e3
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    try:
        import triton

        version = triton.__version__
    except ImportError:
        version = "none"
    cudnn = str(torch.backends.cudnn.version())
    row = Machine(name, torch.__version__, version, cudnn, commit, copied, product)
    Table(folder / "machine.csv", Machine).add(row)


def rates(folder: Path) -> tuple[float, float] | None:
    """Bytes/s and FLOP/s, where they were measured."""
    path = folder / "machine.csv"
    if not path.exists():
        return None
    with open(path, newline="") as file:
        *_, last = csv.DictReader(file)
    return float(last["bytes_per_second"]), float(last["flops_per_second"])
