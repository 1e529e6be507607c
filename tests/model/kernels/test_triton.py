"""The Triton kernels in Triton's interpreter, which needs no GPU: against float64."""

import os
import subprocess
import sys

import pytest
from conftest import PROJECT

pytest.importorskip("triton")

# The interpreter is chosen when triton is imported, so all of it happens in a process of its own.
COMPARE = """
import torch
from convmixer.model.kernels import depthwise_conv2d_reference, triton_depthwise as kernels

for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)):
    for batch, channels, height, width, kernel in SHAPES:
        torch.manual_seed(0)
        x, weight, bias, slope = (
            torch.randn(*size).to(dtype)
            for size in ((batch, channels, height, width), (channels, 1, kernel, kernel), (channels,),
                         (batch, channels, height, width))
        )
        found = [kernels.forward(x, weight, bias), kernels.input_gradient(slope, weight),
                 *kernels.weight_gradients(slope, x, weight)]
        parts = [part.double().requires_grad_() for part in (x, weight, bias)]
        out = depthwise_conv2d_reference(*parts)
        exact = [out.detach(), *torch.autograd.grad(out, parts, slope.double())]
        for name, a, b in zip(("forward", "input", "weight", "bias"), found, exact, strict=True):
            assert a.dtype == dtype and a.shape == b.shape
            largest = b.abs().max().item() if b.numel() else 0.0
            assert ((a - b).abs() <= tolerance * largest).all(), (name, dtype)
print("all compared")
"""


def compare(shapes: list[tuple[int, ...]]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COMPARE.replace("SHAPES", repr(shapes))],
        cwd=PROJECT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "all compared\n", ended.stderr[-2000:]


def test_odd_numbers_of_channels_and_pixels_and_an_empty_batch() -> None:
    compare([(2, 5, 2, 3, 3), (0, 3, 4, 4, 3)])


@pytest.mark.slow
def test_even_and_large_kernels_and_large_planes() -> None:
    compare([(1, 70, 3, 3, 4), (1, 3, 8, 8, 15), (2, 65, 8, 18, 7), (1, 2, 64, 64, 3)])
