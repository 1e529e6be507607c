"""The Triton kernels in Triton's interpreter: `TRITON_INTERPRET=1 python interpreted.py CHECK[=SHAPES] ...`.

A process of its own, as the interpreter is chosen when Triton is imported. Exits 0 if all is as it should be.
"""

import ast
import sys
from contextlib import nullcontext
from typing import Any
from unittest import mock

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from convmixer.model.kernels import (
    choose_path,
    depthwise,
    memory,
    plane_layer,
    pointwise,
    triton_pointwise,
)
from convmixer.model.kernels import triton_depthwise as kernels
from convmixer.model.kernels.layer import layer_weights
from convmixer.model.layers import ConvMixerLayer
from convmixer.model.layers import depthwise_conv2d as depthwise_conv2d_reference
from convmixer.model.variants import conv_mixer

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def multiply_bfloat16() -> None:
    """Triton's interpreter keeps bfloat16 as integers, which its product of matrices takes for numbers."""
    product = interpreter.InterpreterBuilder.create_dot

    def widened(handle: interpreter.TensorHandle) -> interpreter.TensorHandle:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    interpreter.InterpreterBuilder.create_dot = lambda self, a, b, *rest: product(self, widened(a), widened(b), *rest)


def as_newer_interpreters() -> None:
    """Triton 3.6's keeps a number as an array of one, no integer to NumPy since 2.4; and has no bfloat16 constants."""
    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    def bfloat16(self: interpreter.InterpreterBuilder, value: float) -> interpreter.TensorHandle:
        return self.create_fp_trunc(self.get_fp32(value), tl.bfloat16)

    interpreter._patch_lang_tensor = patched
    interpreter.InterpreterBuilder.get_bf16 = bfloat16


def assert_near(name: str, found: Tensor, exact: Tensor, tolerance: float, size: float | Tensor = 0.0) -> None:
    """The error is small beside the norm of what is right, or beside `size`, if that is more."""
    assert found.shape == exact.shape, name
    assert (found.double() - exact).norm() <= tolerance * max(exact.norm(), size), name


def convolution(shapes: list[tuple[int, ...]]) -> None:
    """Forward and all gradients are float64's, in every type; filters are float32, rounded to the type."""
    for dtype, tolerance in TOLERANCES.items():
        for batch, channels, height, width, kernel in shapes:
            torch.manual_seed(0)
            x, slope = (torch.randn(batch, channels, height, width).to(dtype) for _ in range(2))
            weight, bias = torch.randn(channels, 1, kernel, kernel), torch.randn(channels)
            found = [kernels.forward(x, weight, bias), kernels.input_gradient(slope, weight)]
            found += kernels.weight_gradients(slope, x, weight)
            parts = [part.double().requires_grad_() for part in (x, weight.to(dtype), bias)]
            out = depthwise_conv2d_reference(*parts)
            exact = [out.detach(), *torch.autograd.grad(out, parts, slope.double())]
            assert [part.dtype for part in found] == [dtype, dtype, torch.float32, torch.float32]
            for name, a, b in zip(("forward", "input", "weight", "bias"), found, exact, strict=True):
                assert_near(f"{name}, {dtype}, {batch, channels, height, width, kernel}", a, b, tolerance)


def product(shapes: list[tuple[int, ...]]) -> None:
    """The weights' gradient of a point-wise convolution is float64's."""
    for dtype in (torch.bfloat16, torch.float16):
        for batch, out_channels, channels, plane in shapes:
            torch.manual_seed(0)
            gradient, x = (torch.randn(batch, n, plane).to(dtype) for n in (out_channels, channels))
            exact = torch.einsum("bop,bip->oi", gradient.double(), x.double())
            assert_near(f"{dtype}", triton_pointwise.sum_of_products(gradient, x), exact, 1e-5)


def layer(shapes: list[tuple[int, ...]]) -> None:
    """A whole layer's output, statistics and gradients are those of its own modules in float64, in every type."""
    for dtype, tolerance in TOLERANCES.items():
        for shape in shapes:
            batch, channels, height, width, kernel = shape
            torch.manual_seed(0)
            exact_layer = ConvMixerLayer(channels, kernel)
            exact_layer.norm2.eps = 1e-3
            for norm in (exact_layer.norm1, exact_layer.norm2):
                torch.nn.init.normal_(norm.weight, 1.0, 0.5)
                torch.nn.init.normal_(norm.bias)
            x, slope = (torch.randn(batch, channels, height, width).to(dtype) for _ in range(2))
            weights, epsilons = layer_weights(exact_layer), [1e-5, 1e-3]
            out, *kept = plane_layer._plane_layer(x, *weights, epsilons)
            found = plane_layer._plane_layer_backward(slope, x, weights, kept[:4], kept[4:], epsilons)
            exact_layer.double()
            parts = [x.double().requires_grad_(), *weights]
            exact_out = exact_layer(parts[0])
            exact = torch.autograd.grad(exact_out, parts, slope.double())
            assert [part.dtype for part in (out, *found)] == [dtype, dtype, *[torch.float32] * 8]
            assert_near(f"output, {dtype}, {shape}", out, exact_out.detach(), tolerance)
            size = exact[1].norm()  # gradients of biases and norms are sums that may cancel to nearly nothing
            for place, (a, b) in enumerate(zip(found, exact, strict=True)):
                assert_near(f"gradient {place}, {dtype}, {shape}", a, b, tolerance, size if place else 0)
            n = batch * height * width
            for place, norm in enumerate((exact_layer.norm1, exact_layer.norm2)):
                right = (norm.running_mean / 0.1, (norm.running_var - 0.9) / 0.1 * (n - 1) / n)
                for name, a, b in zip(("mean", "variance"), kept[2 * place :], right, strict=False):
                    assert_near(f"{name} {place}, {dtype}, {shape}", a, b, 3 * tolerance)


def layer_in_a_network() -> None:
    """Networks with whole layers learn as with PyTorch's modules: three updates; what does not fit goes by those."""
    used, call = [], plane_layer.PlaneLayer.__call__
    losses = []
    for path in ("torch", "native"):
        torch.manual_seed(0)
        model = conv_mixer(4, 2, 3, 4, n_classes=2)
        if path == "native":
            choose_path(model, "native", torch.device("cuda"), torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        images, labels = torch.randn(3, 3, 16, 16), torch.tensor([0, 1, 0])
        with (
            mock.patch.object(plane_layer.PlaneLayer, "fits", lambda self, layer, x: True),
            mock.patch.object(plane_layer.PlaneLayer, "__call__", lambda self, *a: (used.append(1), call(self, *a))[1]),
        ):
            for _ in range(3):
                loss = torch.nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        losses.append((loss.detach(), *model.buffers()))
    assert len(used) == 2 * 3
    for a, b in zip(*losses, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


class OnACpu:
    """The registered operations take the Triton kernels, which the interpreter runs on a CPU, with a GPU's strides."""

    def __enter__(self) -> None:
        def backward(gradient: Tensor, x: Tensor, weight: Tensor, for_input: bool, for_weight: bool) -> tuple:
            dx, dweight, dbias = x.new_empty(0), weight.new_empty(0), weight.new_empty(0)
            if for_input:
                dx = kernels.input_gradient(gradient, weight)
            if for_weight:
                dweight, dbias = kernels.weight_gradients(gradient, x, weight)
            return dx, dweight, dbias

        depthwise._depthwise_conv2d.register_kernel("cpu")(kernels.forward)
        depthwise._depthwise_conv2d_backward.register_kernel("cpu")(backward)
        plane_layer._plane_layer.register_kernel("cpu")(plane_layer._plane_layer_on_gpu)
        plane_layer._plane_layer_backward.register_kernel("cpu")(plane_layer._plane_layer_backward_on_gpu)
        self.order = mock.patch.object(memory, "order_on", lambda device: torch.contiguous_format)
        self.order.start()

    def __exit__(self, *_: object) -> None:
        self.order.stop()


def registered() -> None:
    """Shapes and strides of what the operations give are as promised to torch.compile, and so are the gradients."""
    x = torch.randn(2, 3, 3, 8).to(memory_format=torch.channels_last)
    weight, matrix = (torch.randn(3, n, k, k).to(memory_format=torch.channels_last) for n, k in ((1, 3), (3, 1)))
    parameters = [tensor.clone().requires_grad_() for tensor in (x, weight, torch.randn(3))]
    torch.library.opcheck(depthwise._depthwise_conv2d, tuple(parameters))
    torch.library.opcheck(pointwise._mix_channels, (parameters[0], matrix.clone().requires_grad_()))
    for backward, tensor in (
        (depthwise._depthwise_conv2d_backward, weight),
        (pointwise._mix_channels_backward, matrix),
    ):
        for wanted in ((True, True), (False, True), (True, False)):
            torch.library.opcheck(backward, (x, x, tensor, *wanted), test_utils=("test_schema", "test_faketensor"))
    one = ConvMixerLayer(3, 3).to(memory_format=torch.channels_last)
    arguments = (parameters[0], *layer_weights(one), [1e-5, 1e-5])
    torch.library.opcheck(plane_layer._plane_layer, arguments)
    out, *kept = plane_layer._plane_layer(*arguments)
    for_backward = (out.detach(), x, layer_weights(one), kept[:4], kept[4:], [1e-5, 1e-5])
    torch.library.opcheck(
        plane_layer._plane_layer_backward, for_backward, test_utils=("test_schema", "test_faketensor")
    )


def compiled() -> None:
    """A layer under torch.compile, strides asserted by its code, gives the numbers of its own modules."""
    torch.manual_seed(0)
    layer = ConvMixerLayer(4, 3)
    layer.depth_wise_conv.convolve = depthwise.depthwise_conv2d
    x, slope = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(2, 4, 8, 8)
    outputs = []
    with mock.patch.object(layer.point_wise_conv, "forward", lambda x: pointed(layer.point_wise_conv, x)):
        for run in (layer, torch.compile(layer, dynamic=False)):
            out = run(x)
            outputs.append([out, *torch.autograd.grad(out, [x, *layer.parameters()], slope)])
    layer.depth_wise_conv.convolve = depthwise_conv2d_reference
    out = layer(x)
    expected = [out, *torch.autograd.grad(out, [x, *layer.parameters()], slope)]
    for found in outputs:
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def pointed(convolution: torch.nn.Conv2d, x: Tensor) -> Tensor:
    return pointwise.pointwise_conv2d(x, convolution.weight, convolution.bias)


def launched_on_their_device() -> None:
    """Each launch is within torch's guard: Triton starts kernels on the current GPU, wherever the tensors are."""
    entered = []
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(2, 1, 3, 3)
    with mock.patch.object(torch.cuda, "device_of", lambda tensor: (entered.append(tensor), mock.MagicMock())[1]):
        kernels.forward(x, weight, None)
        kernels.input_gradient(x, weight)
        kernels.weight_gradients(x, x, weight)
        triton_pointwise.sum_of_products(x.half().flatten(2), x.half().flatten(2))
        assert len(entered) == 4
        arguments = (x, *layer_weights(ConvMixerLayer(2, 3)), [1e-5, 1e-5])
        out, *kept = plane_layer._plane_layer_on_gpu(*arguments)
        assert len(entered) == 4 + 5  # two products, two BatchNorms, and the second one's result
        plane_layer._plane_layer_backward_on_gpu(out, x, arguments[1:-1], kept[:4], kept[4:], [1e-5, 1e-5])
        assert len(entered) == 9 + 6  # float32, so the weights' gradient of the product is PyTorch's


def network_in_planes() -> None:
    """On the native path of a GPU no weight and no activation lies channels_last."""
    model = conv_mixer(4, 2, 3, 2).to(memory_format=torch.channels_last)
    with mock.patch.object(depthwise, "triton_is_available", lambda: True):
        choose_path(model, "native", torch.device("cuda"), torch.bfloat16)
    assert all(p.is_contiguous() for p in model.parameters())
    seen = []
    for module in model.modules():
        module.register_forward_hook(lambda module, args, out: seen.append(out.is_contiguous()))
    model(torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last))
    assert all(seen)


if __name__ == "__main__":
    multiply_bfloat16()
    as_newer_interpreters()
    for argument in sys.argv[1:]:
        check, _, shapes = argument.partition("=")
        with OnACpu() if check not in ("convolution", "product") else nullcontext():
            globals()[check](*([ast.literal_eval(shapes)] if shapes else []))
