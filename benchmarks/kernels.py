"""The kernels beside PyTorch's operations in channels_last: depth-wise convolution, a layer, a whole network.

    python -m benchmarks.kernels [--threads 2] [--rounds 9] [--compile] [--only NAME ...] [--csv FILE]

Both sides take turns in one process, so that what else the machine does meets both; a ratio is of two turns that follow
each other. With one thread the clock is that thread's own, which stands still while the system has put it aside.
`GFLOP/s` is of useful arithmetic, two operations a multiply-add, pixels outside the image included; `GB/s` is of the
tensors that an operation must read and write once. `share` is of a large matrix product's rate in that run.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks import tables
from benchmarks.throughput import MODELS, cpu_or_wall_clock, gflop_per_image, matrix_product_peak
from convmixer.model.kernels import choose_path, depthwise_conv2d
from convmixer.model.layers import ConvMixerLayer
from convmixer.model.layers import depthwise_conv2d as depthwise_conv2d_reference
from convmixer.model.variants import conv_mixer
from convmixer.training.hardware import cpu_name, keep_freed_memory

# batch, channels, height and width, kernel size
PLANES = [(64, 256, 16, 7), (64, 256, 16, 9), (128, 128, 8, 5)]
NETWORKS = [("small", 128), ("256/8", 64)]
WARM_UP = 2

Call = Callable[[], object]


@dataclass(frozen=True)
class Operation:
    """The same computation by several ways, "native" among them, and what it takes at least."""

    name: str
    shape: str
    ways: dict[str, Call]
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


def convolutions(compiled: bool, batch: int, channels: int, side: int, kernel: int) -> list[Operation]:
    """Depth-wise convolution, and each of its gradients as autograd asks for it."""
    x, slope = channels_last(batch, channels, side, side), channels_last(batch, channels, side, side)
    weight, bias = torch.randn(channels, 1, kernel, kernel), torch.randn(channels)
    gflop, gigabytes = 2 * x.numel() * kernel**2 / 1e9, x.numel() * 4 / 1e9
    functions = {"native": depthwise_conv2d, "eager": depthwise_conv2d_reference}
    if compiled:
        functions["compile"] = torch.compile(depthwise_conv2d_reference)
    shape = f"{batch}x{channels}x{side}x{side} k{kernel}"
    calls = {way: lambda f=f: f(x, weight, bias) for way, f in functions.items()}
    operations = [Operation("forward", shape, calls, gflop, 2 * gigabytes)]
    wanted = {"input gradient": [x], "weight gradient": [weight], "both gradients": [x, weight]}
    for name, parts in wanted.items():
        calls = {way: gradient_of(f, x, weight, parts, slope) for way, f in functions.items()}
        tensors = 3 if len(parts) == 2 else 2
        operations.append(Operation(name, shape, calls, gflop * len(parts), tensors * gigabytes))
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


def training_steps(model: nn.Module, x: Tensor, compiled: bool) -> dict[str, Call]:
    """Native, and through PyTorch's operations."""
    ways = ["native", "eager"] + (["compile"] if compiled else [])
    models = {way: copy.deepcopy(model).to(memory_format=torch.channels_last) for way in ways}
    for way, each in models.items():
        choose_path(each, "native" if way == "native" else "torch", torch.device("cpu"), torch.float32)
    if compiled:
        models["compile"] = torch.compile(models["compile"])
    return {way: training_step(each, x) for way, each in models.items()}


def layer(compiled: bool, batch: int, channels: int, side: int, kernel: int) -> Operation:
    """A layer's training step: native/layer.cpp reads or writes 23 tensors of its size."""
    x = channels_last(batch, channels, side, side).requires_grad_()
    steps = training_steps(ConvMixerLayer(channels, kernel), x, compiled)
    gflop = 6 * x.numel() * (kernel**2 + channels) / 1e9
    return Operation(
        "layer step", f"{batch}x{channels}x{side}x{side} k{kernel}", steps, gflop, 23 * x.numel() * 4 / 1e9
    )


def network(compiled: bool, name: str, batch: int) -> Operation:
    steps = training_steps(conv_mixer(*MODELS[name]), torch.randn(batch, 3, 32, 32), compiled)
    return Operation("network step", f"{name}, batch {batch}", steps, gflop_per_image(name) * batch, 0.0)


def milliseconds(call: Call) -> float:
    clock = cpu_or_wall_clock()
    started = clock()
    call()
    return (clock() - started) * 1e3


def compare(operation: Operation, against: str, rounds: int, peak: float) -> Result:
    """Ours and theirs in turns."""
    native, theirs = operation.ways["native"], operation.ways[against]
    for _ in range(WARM_UP):
        native(), theirs()
    times = [(milliseconds(native), milliseconds(theirs)) for _ in range(rounds)]
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


def all_operations(compiled: bool) -> Iterator[Operation]:
    for shape in PLANES:
        torch.compiler.reset()  # nothing is left of other shapes: neither their number nor sizes that may vary
        yield from convolutions(compiled, *shape)
        yield layer(compiled, *shape)
    for each in NETWORKS:
        torch.compiler.reset()
        yield network(compiled, *each)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, help="as many as torch takes, unless given")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="against torch.compile instead, which takes minutes")
    parser.add_argument("--only", nargs="+", help="operations, by name")
    parser.add_argument("--csv", type=Path, help="add the figures to this file, in place of those of earlier runs")
    args = parser.parse_args()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)

    peak = matrix_product_peak()
    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, matrix product {peak:.0f} GFLOP/s"
    )
    print(f"{'':38}{'against':10}{'ms':>8}{'theirs':>9}   {'ratio (min..max)':21}{'GFLOP/s':>8}{'share':>7}{'GB/s':>7}")
    results = []
    for operation in all_operations(args.compile):
        if args.only and operation.name not in args.only:
            continue
        r = compare(operation, "compile" if args.compile else "eager", args.rounds, peak)
        results.append(r)
        spread = f"{r.ratio:.2f} ({r.ratio_min:.2f}..{r.ratio_max:.2f})"
        print(
            f"{r.operation:16}{r.shape:22}{r.against:10}{r.milliseconds:8.2f}{r.theirs:9.2f}   {spread:21}"
            f"{r.gflops:8.0f}{r.share:7.0%}{r.gigabytes_per_second:7.1f}",
            flush=True,
        )
    if args.csv:
        tables.put(args.csv, map(asdict, results), key=("operation", "shape", "against", "threads"))


if __name__ == "__main__":
    main()
