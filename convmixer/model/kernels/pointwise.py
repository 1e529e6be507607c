"""Point-wise convolution of whole planes (NCHW) on a GPU, as products of matrices: cuDNN would reorder the planes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convmixer.model.kernels.depthwise import autocast


def pointwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """One linear map over the channels of every place.

    The bias is added outside of the product, where torch.compile joins it with what comes next.

    Args:
        x: [batch, channels, height, width].
        weight: [out, channels, 1, 1], of the type of x or float32; its gradient is of the same.
        bias: [out].

    Returns:
        [batch, out, height, width].
    """
    x = autocast(x)
    out = _mix_channels(x, weight)
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


def _matrix(weight: Tensor, x: Tensor) -> Tensor:
    """[1, out, channels], in the type of x; the product reads it for every image."""
    return weight.flatten(1).to(x.dtype)[None]


@torch.library.custom_op("convmixer::mix_channels", mutates_args=())
def _mix_channels(x: Tensor, weight: Tensor) -> Tensor:
    out = torch.matmul(_matrix(weight, x), x.contiguous().flatten(2))
    return out.unflatten(2, x.shape[2:])


@torch.library.custom_op("convmixer::mix_channels_backward", mutates_args=())
def _mix_channels_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, for_input: bool, for_weight: bool
) -> tuple[Tensor, Tensor]:
    gradient, x = gradient.contiguous(), x.contiguous()
    dx, dweight = x.new_empty(0), weight.new_empty(0)
    if for_input:
        dx = torch.matmul(_matrix(weight, x).mT, gradient.flatten(2)).view(x.shape)
    if for_weight:
        product = sum_of_products(gradient.flatten(2), x.flatten(2))
        dweight = torch.empty_like(weight).copy_(product.view(weight.shape))
    return dx, dweight


def sum_of_products(gradient: Tensor, x: Tensor) -> Tensor:
    """[batch, out, places] and [batch, channels, places] -> the sum over images of gradient @ x^T, [out, channels]."""
    if x.dtype.itemsize == 4:
        return torch.einsum("bop,bip->oi", gradient, x)
    from convmixer.model.kernels import triton_pointwise

    return triton_pointwise.sum_of_products(gradient, x)


@_mix_channels.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(len(x), len(weight), *x.shape[2:])


@_mix_channels_backward.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor, for_input: bool, for_weight: bool) -> tuple[Tensor, Tensor]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if for_input else x.new_empty(0)
    return dx, torch.empty_like(weight) if for_weight else weight.new_empty(0)


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    needs_x, needs_weight = ctx.needs_input_grad
    x, weight = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph=True: gradients that have gradients
        dx = F.conv2d(gradient, weight.to(x.dtype).transpose(0, 1)) if needs_x else None
        product = torch.einsum("bo...,bi...->oi", gradient, x).to(weight.dtype)
        return dx, product.view(weight.shape) if needs_weight else None
    dx, dweight = _mix_channels_backward(gradient, *ctx.saved_tensors, needs_x, needs_weight)
    return dx if needs_x else None, dweight if needs_weight else None


_mix_channels.register_autograd(_backward, setup_context=_save)
