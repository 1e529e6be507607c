"""The kernels beside PyTorch's operations in channels_last: depth-wise convolution, a layer, a whole network.

    python -m benchmarks.kernels [--threads 2] [--rounds 9] [--compile] [--csv FILE]

Both sides take turns in one process, so that what else the machine does meets both; a ratio is of two turns that follow
each other. `GFLOP/s` is of useful arithmetic, two operations a multiply-add, pixels outside the image included; `GB/s`
is of the tensors that an operation must read and write once. `share` is of a large matrix product's rate in that run.
"""

import argparse
import copy
import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.throughput import MODELS, gflop_per_image, matrix_product_peak
from convmixer.model.kernels import choose_path, depthwise_conv2d, depthwise_conv2d_reference
from convmixer.model.layers import ConvMixerLayer, conv_mixer
from convmixer.training.hardware import cpu_name, keep_freed_memory

# batch, channels, height and width, kernel size
PLANES = [(64, 256, 16, 7), (64, 256, 16, 9), (128, 128, 8, 5)]
NETWORKS = [("small", 128), ("256/8", 64)]
WARM_UP = 2

Call = Callable[[], object]


@dataclass(frozen=True)
class Operation:
    """The same computation in two ways (three, with torch.compile), and what it takes at least."""

    name: str
    shape: str
    native: Call
    torch: Call
    gflop: float
    gigabytes: float


@dataclass(frozen=True)
class Result:
    """One line of the report. Ratios are PyTorch's time over ours; `share` is of the matrix product's rate."""

    operation: str
    shape: str
    against: str
    milliseconds: float
    theirs: float
    ratio: float
    ratio_min: float
    ratio_max: float
    gflops: float
    gigabytes_per_second: float
    share: float
    peak: float
    threads: int
    cpu: str
    torch: str


def channels_last(*shape: int) -> Tensor:
    return torch.randn(*shape).to(memory_format=torch.channels_last)


def convolutions(batch: int, channels: int, side: int, kernel: int) -> list[Operation]:
    """Depth-wise convolution, and each of its gradients as autograd asks for it."""
    x, slope = channels_last(batch, channels, side, side), channels_last(batch, channels, side, side)
    weight, bias = torch.randn(channels, 1, kernel, kernel), torch.randn(channels)
    gflop, gigabytes = 2 * x.numel() * kernel**2 / 1e9, x.numel() * 4 / 1e9
    wanted = {"input gradient": [x], "weight gradient": [weight], "both gradients": [x, weight]}
    sides = [depthwise_conv2d, depthwise_conv2d_reference]
    shape = f"{batch}x{channels}x{side}x{side} k{kernel}"
    operations = [
        Operation("forward", shape, *(lambda f=f: f(x, weight, bias) for f in sides), gflop, 2 * gigabytes),
    ]
    for name, parts in wanted.items():
        calls = [gradient_of(side, x, weight, parts, slope) for side in sides]
        tensors = 3 if len(parts) == 2 else 2
        operations.append(Operation(name, shape, *calls, gflop * len(parts), tensors * gigabytes))
    return operations


def gradient_of(function: Callable, x: Tensor, weight: Tensor, wanted: list[Tensor], slope: Tensor) -> Call:
    """The backward pass alone, through a graph that is kept."""
    parts = [part.detach().requires_grad_(any(part is other for other in wanted)) for part in (x, weight)]
    out = function(*parts)
    leaves = [part for part in parts if part.requires_grad]
    return lambda: torch.autograd.grad(out, leaves, slope, retain_graph=True)


def training_step(model: nn.Module, x: Tensor) -> Call:
    """Forward and backward, without the optimizer."""

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(x).sum().backward()

    return step


def in_both_ways(model: nn.Module) -> list[nn.Module]:
    """Native, and through PyTorch's operations."""
    models = [model.to(memory_format=torch.channels_last), copy.deepcopy(model).to(memory_format=torch.channels_last)]
    for each, kernels in zip(models, ("native", "torch"), strict=True):
        choose_path(each, kernels, torch.device("cpu"), torch.float32)
    return models


def layer(batch: int, channels: int, side: int, kernel: int) -> Operation:
    """A layer's training step: native/layer.cpp reads or writes 23 tensors of its size."""
    x = channels_last(batch, channels, side, side).requires_grad_()
    steps = [training_step(model, x) for model in in_both_ways(ConvMixerLayer(channels, kernel))]
    gflop = 6 * x.numel() * (kernel**2 + channels) / 1e9
    return Operation(
        "layer step", f"{batch}x{channels}x{side}x{side} k{kernel}", *steps, gflop, 23 * x.numel() * 4 / 1e9
    )


def network(name: str, batch: int) -> Operation:
    images = torch.randn(batch, 3, 32, 32)
    steps = [training_step(model, images) for model in in_both_ways(conv_mixer(*MODELS[name]))]
    return Operation("network step", f"{name}, batch {batch}", *steps, gflop_per_image(name) * batch, 0.0)


def milliseconds(call: Call) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def compare(operation: Operation, against: str, theirs: Call, rounds: int, peak: float) -> Result:
    """Ours and theirs in turns."""
    for _ in range(WARM_UP):
        operation.native(), theirs()
    times = [(milliseconds(operation.native), milliseconds(theirs)) for _ in range(rounds)]
    ratios = [their / our for our, their in times]
    ours = median(our for our, _ in times)
    gflops = operation.gflop / ours * 1e3
    return Result(
        operation.name,
        operation.shape,
        against,
        ours,
        median(their for _, their in times),
        median(ratios),
        min(ratios),
        max(ratios),
        gflops,
        operation.gigabytes / ours * 1e3,
        gflops / peak,
        peak,
        torch.get_num_threads(),
        cpu_name(),
        torch.__version__,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, help="as many as torch takes, unless given")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="against torch.compile too, which takes minutes")
    parser.add_argument("--csv", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)

    peak = matrix_product_peak()
    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, matrix product {peak:.0f} GFLOP/s"
    )
    print(f"{'':38}{'against':10}{'ms':>8}{'theirs':>9}   {'ratio (min..max)':21}{'GFLOP/s':>8}{'share':>7}{'GB/s':>7}")
    operations = [each for shape in PLANES for each in (*convolutions(*shape), layer(*shape))]
    operations += [network(*each) for each in NETWORKS]
    results = []
    for operation in operations:
        sides = {"eager": operation.torch} | ({"compile": torch.compile(operation.torch)} if args.compile else {})
        for against, theirs in sides.items():
            r = compare(operation, against, theirs, args.rounds, peak)
            results.append(r)
            spread = f"{r.ratio:.2f} ({r.ratio_min:.2f}..{r.ratio_max:.2f})"
            print(
                f"{r.operation:16}{r.shape:22}{r.against:10}{r.milliseconds:8.2f}{r.theirs:9.2f}   {spread:21}"
                f"{r.gflops:8.0f}{r.share:7.0%}{r.gigabytes_per_second:7.1f}",
                flush=True,
            )
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Result)])
            writer.writeheader()
            writer.writerows(asdict(result) for result in results)


if __name__ == "__main__":
    main()
