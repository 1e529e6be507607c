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
from convmixer.model.kernels import triton_depthwise as kernels
from convmixer.model.layers import depthwise_conv2d as depthwise_conv2d_reference

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


# Of a tensor's numbers the error is relative to its norm, or for sums that may cancel to that of its terms.
COMPARE_LAYERS = """
import copy
import torch
from convmixer.model.kernels import triton_layer as kernels
from convmixer.model.layers import ConvMixerLayer

for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)):
    for batch, channels, height, width, kernel in SHAPES:
        torch.manual_seed(0)
        layer = ConvMixerLayer(channels, kernel)
        for norm in (layer.norm1, layer.norm2):
            torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
        convolutions, norms = (layer.depth_wise_conv, layer.point_wise_conv), (layer.norm1, layer.norm2)
        for convolution in convolutions:
            convolution.to(dtype)
        weights = [p for c, n in zip(convolutions, norms) for p in (c.weight, c.bias, n.weight, n.bias)]
        x, slope = (torch.randn(batch, channels, height, width).to(dtype) for _ in range(2))
        with torch.no_grad():
            out, *rest = kernels.train(x, weights, [1e-5, 1e-5])
            found = [out, *kernels.backward(slope, x, weights, rest[:4], rest[4:], [1e-5, 1e-5])]
        exact_layer, exact_x = copy.deepcopy(layer).double(), x.double().requires_grad_()
        exact_out = exact_layer(exact_x)
        parts = [*exact_layer.depth_wise_conv.parameters(), *exact_layer.norm1.parameters()]
        parts += [*exact_layer.point_wise_conv.parameters(), *exact_layer.norm2.parameters()]
        exact = [exact_out.detach(), *torch.autograd.grad(exact_out, [exact_x, *parts], slope.double())]
        floor = max(e.square().mean() for e in (exact[2], exact[6])).sqrt()
        for name, a, b in zip(range(10), found, exact, strict=True):
            assert a.shape == b.shape and a.dtype == (dtype if name in (0, 1, 2, 3, 6, 7) else torch.float32), name
            size = b.norm() if b.dim() > 1 else max(b.norm(), floor * b.numel() ** 0.5)
            error = (a - b).norm() / size
            assert error <= tolerance, (name, dtype, error)
        layer.eval(), exact_layer.load_state_dict(layer.state_dict()), exact_layer.eval()
        with torch.no_grad():
            running = [s for norm in norms for s in (norm.running_mean, norm.running_var)]
            out, expected = kernels.evaluate(x, weights, running, [1e-5, 1e-5]), exact_layer(x.double())
        assert (out - expected).norm() / expected.norm() <= tolerance
print("all compared")
"""


def compare(shapes: list[tuple[int, ...]], program: str = COMPARE) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", program.replace("SHAPES", repr(shapes))],
        cwd=PROJECT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "all compared\n", ended.stderr[-2000:]


def test_odd_numbers_of_channels_and_pixels_and_an_empty_batch() -> None:
    compare([(2, 5, 2, 3, 3), (0, 3, 4, 4, 3)])


def test_a_layer_forward_backward_and_in_evaluation() -> None:
    compare([(3, 5, 3, 4, 3)], COMPARE_LAYERS)


@pytest.mark.slow
def test_layers_of_more_channels_and_pixels_than_a_program_takes() -> None:
    compare([(2, 70, 3, 18, 4)], COMPARE_LAYERS)


@pytest.mark.slow
def test_even_and_large_kernels_and_large_planes() -> None:
    compare([(1, 70, 3, 3, 4), (1, 3, 8, 8, 15), (2, 65, 8, 18, 7), (1, 2, 64, 64, 3)])
