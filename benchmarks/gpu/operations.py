"""Milliseconds of single operations: cuDNN's in both memory formats, with and without its search, and ours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu.machine import milliseconds, rates
from benchmarks.gpu.stages import Table
from convmixer.model.kernels import depthwise, pointwise

OPERATIONS = ("forward", "input gradient", "weight gradient")
Run = Callable[[], object]


@dataclass(frozen=True)
class Operation:
    """`share` is that of the rate of a copy, were input and output all that is moved: 2 activations."""

    operation: str
    side: str
    width: int
    kernel: int
    batch: int
    channels: int
    milliseconds: float
    share: float
    problem: str = ""


@contextmanager
def cudnn_search(is_on: bool) -> Iterator[None]:
    """cuDNN tries its algorithms and keeps the quickest, or takes the one that it expects to be."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, is_on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def theirs(x: Tensor, gradient: Tensor, weight: Tensor) -> dict[str, Run]:
    """The three operations by PyTorch, on tensors as they lie in memory."""
    groups = x.shape[1] // weight.shape[1]
    settings = ([1, 1], [weight.shape[-1] // 2] * 2, [1, 1], False, [0, 0], groups)

    def backward(wanted: list[bool]) -> Run:
        return lambda: torch.ops.aten.convolution_backward(gradient, x, weight, [weight.shape[0]], *settings, wanted)

    return {
        "forward": lambda: torch.ops.aten.convolution(x, weight, None, *settings),
        "input gradient": backward([True, False, False]),
        "weight gradient": backward([False, True, False]),
    }


def ours(x: Tensor, gradient: Tensor, weight: Tensor) -> dict[str, Run]:
    """The same by this project's operations."""
    if weight.shape[-1] > 1:
        forward, backward = (lambda: depthwise._depthwise_conv2d(x, weight, None)), depthwise._depthwise_conv2d_backward
    else:
        forward, backward = (lambda: pointwise._mix_channels(x, weight)), pointwise._mix_channels_backward
    return {
        "forward": forward,
        "input gradient": lambda: backward(gradient, x, weight, True, False),
        "weight gradient": lambda: backward(gradient, x, weight, False, True),
    }


def measure(
    folder: Path, device: torch.device, shapes: list[tuple[int, int]], batch: int, channels: int, seconds: float
) -> None:
    """Write operations.csv, for `shapes` of (width, kernel); kernel 1 is the point-wise convolution."""
    table, peak = Table(folder / "operations.csv", Operation), rates(folder)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for width, kernel in shapes:
        x, gradient = (torch.randn(batch, channels, width, width, device=device, dtype=dtype) for _ in range(2))
        weight = torch.randn(channels, channels if kernel == 1 else 1, kernel, kernel, device=device, dtype=dtype)
        last = [each.contiguous(memory_format=torch.channels_last) for each in (x, gradient, weight)]
        sides = {
            "native": (ours(x, gradient, weight), False),
            "cuDNN channels_last": (theirs(*last), False),
            "cuDNN channels_last, searched": (theirs(*last), True),
            "cuDNN NCHW": (theirs(x, gradient, weight), False),
        }
        least = 2 * x.numel() * x.element_size() / peak[0] * 1e3 if peak else float("nan")
        for operation in OPERATIONS:
            for side, (runs, is_searched) in sides.items():
                took, problem = float("nan"), ""
                try:
                    with cudnn_search(is_searched):
                        took = milliseconds(runs[operation], device, seconds)
                except Exception as error:
                    problem = " ".join(str(error).split())[:100]
                table.add(Operation(operation, side, width, kernel, batch, channels, took, least / took, problem))
