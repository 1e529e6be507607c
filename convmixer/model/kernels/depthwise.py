"""Depth-wise convolution: one function, with the C++ kernel behind it where that fits, else PyTorch's."""

import ctypes
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from convmixer.model.kernels.build import is_available, library
from convmixer.model.kernels.memory import in_order, like
from convmixer.model.layers import depthwise_conv2d as depthwise_conv2d_reference

# Those of triton_depthwise, which only a machine with a GPU needs to import.
WIDEST_PLANE, LARGEST_KERNEL, DTYPES_ON_CUDA = 64, 15, (torch.float32, torch.bfloat16, torch.float16)


class Shape(ctypes.Structure):
    """The C++ `Shape`: what a kernel must know about a batch."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("batch", "height", "width", "channels", "kernel", "threads"))


def shape_of(x: Tensor, kernel_size: int) -> Shape:
    """Describe a batch [batch, channels, height, width] to the C++ kernels."""
    batch, channels, height, width = x.shape
    return Shape(batch, height, width, channels, kernel_size, torch.get_num_threads())


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """One k x k filter for each channel; height and width stay as they are ("same").

    k - 1 rows and columns of zeros are added in all; an even k has its odd one at the bottom and at the right.

    float32 on the CPU goes through the C++ kernels, 16 and 32 bits on CUDA through Triton's, for planes up to 64 wide
    and k up to 15; everything else, and everything where these can't be compiled, through `depthwise_conv2d_reference`.
    The kernels give the same bits from run to run, on the CPU with any number of threads. Their gradients can be
    differentiated again: with `create_graph=True` they are the reference's. On CUDA weight and bias may be float32
    where x has 16 bits, as under autocast; their gradients are float32 then.

    Args:
        x: [batch, channels, height, width], in any memory format.
        weight: [channels, 1, k, k].
        bias: [channels].

    Returns:
        [batch, channels, height, width], from the kernels in the order of `memory.order_on`.
    """
    x = autocast(x)
    if is_native(x, weight):
        return _depthwise_conv2d(x, weight, bias)
    return depthwise_conv2d_reference(x, weight, bias)


def autocast(tensor: Tensor) -> Tensor:
    """As autocast hands it to a convolution on CUDA. On the CPU that is left to PyTorch."""
    if tensor.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return tensor.to(torch.get_autocast_dtype("cuda"))
    return tensor


def is_native(x: Tensor, weight: Tensor) -> bool:
    """Return True if the native kernels take these tensors."""
    fits = (
        x.dim() == 4 and weight.shape == (x.shape[1], 1, weight.shape[-1], weight.shape[-1]) and x.shape[1:].numel() > 0
    )
    if x.device.type == "cuda":
        has_kernels = x.shape[3] <= WIDEST_PLANE and weight.shape[3] <= LARGEST_KERNEL and triton_is_available()
        return fits and has_kernels and x.dtype in DTYPES_ON_CUDA and weight.dtype in (x.dtype, torch.float32)
    fits = fits and x.dtype == weight.dtype
    is_float32 = x.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
    return fits and x.device.type == "cpu" and is_float32 and is_available()


def triton_is_available() -> bool:
    """True if Triton is installed, as it is with torch for CUDA. torch.compile takes the answer for a constant."""
    return _found_triton()


triton_is_available._dynamo_marked_constant = True  # as build.is_available


@cache
def _found_triton() -> bool:
    return find_spec("triton") is not None


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def call(name: str, *arguments: object) -> None:
    """Call a kernel.

    Raises:
        MemoryError: there is not enough memory for its scratch.
    """
    if getattr(library().functions, name)(*arguments):
        raise MemoryError(f"not enough memory for {name}")


@torch.library.custom_op("convmixer::depthwise_conv2d", mutates_args=())
def _depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x, weight, out = in_order(x), weight.contiguous(), like(x)
    bias = None if bias is None else bias.contiguous()
    shape = shape_of(x, weight.shape[-1])
    call("depthwise_forward", ctypes.byref(shape), *map(pointer, (x, weight, bias, out)))
    return out


@torch.library.custom_op("convmixer::depthwise_conv2d_backward", mutates_args=())
def _depthwise_conv2d_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, for_input: bool, for_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    gradient, x, weight = in_order(gradient), in_order(x), weight.contiguous()
    dx, dweight, dbias = _gradients(x, weight, for_input, for_weight)
    shape = shape_of(x, weight.shape[-1])
    into = (dx if for_input else None, *((dweight, dbias) if for_weight else (None, None)))
    call("depthwise_backward", ctypes.byref(shape), *map(pointer, (x, weight, gradient, *into)))
    return dx, dweight, dbias


def _gradients(x: Tensor, weight: Tensor, for_input: bool, for_weight: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the gradients of input, weight and bias; none for those that are not needed."""
    dx = like(x) if for_input else x.new_empty(0)
    if not for_weight:
        return dx, weight.new_empty(0), weight.new_empty(0)
    return dx, torch.empty_like(weight), weight.new_empty(len(weight))


@_depthwise_conv2d.register_kernel("cuda")
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    from convmixer.model.kernels import triton_depthwise

    return triton_depthwise.forward(x, weight, bias)


@_depthwise_conv2d_backward.register_kernel("cuda")
def _(gradient: Tensor, x: Tensor, weight: Tensor, for_input: bool, for_weight: bool) -> tuple[Tensor, Tensor, Tensor]:
    from convmixer.model.kernels import triton_depthwise

    dx, dweight, dbias = x.new_empty(0), weight.new_empty(0), weight.new_empty(0)
    if for_input:
        dx = triton_depthwise.input_gradient(gradient, weight)
    if for_weight:
        dweight, dbias = triton_depthwise.weight_gradients(gradient, x, weight)
    return dx, dweight, dbias


@_depthwise_conv2d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return like(x)


@_depthwise_conv2d_backward.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor, for_input: bool, for_weight: bool) -> tuple[Tensor, Tensor, Tensor]:
    return _gradients(x, weight, for_input, for_weight)


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.save_for_backward(x, weight, bias)


def _backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad
    if torch.is_grad_enabled():  # create_graph=True: gradients that have gradients
        wanted = [t for t in (x, weight, bias) if t is not None and t.requires_grad]
        out = depthwise_conv2d_reference(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
        return tuple(next(found) if t is not None and t.requires_grad else None for t in (x, weight, bias))
    of_weights = needs_weight or needs_bias
    dx, dweight, dbias = _depthwise_conv2d_backward(gradient, x, weight, needs_x, of_weights)
    return dx if needs_x else None, dweight if needs_weight else None, dbias if needs_bias else None


_depthwise_conv2d.register_autograd(_backward, setup_context=_save)
