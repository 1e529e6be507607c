"""Chooses the path that a model's layers take: PyTorch's operations, or kernels of our own."""

from typing import NamedTuple

import torch
from torch import nn

from convmixer.errors import Unavailable, UserError
from convmixer.model.kernels.build import library
from convmixer.model.kernels.depthwise import depthwise_conv2d, triton_is_available
from convmixer.model.kernels.layer import NativeLayer
from convmixer.model.kernels.memory import order_on
from convmixer.model.kernels.plane_layer import PlaneLayer
from convmixer.model.kernels.pointwise import pointwise_conv2d
from convmixer.model.layers import ConvMixerLayer, DepthWiseConv, FusedForward, PatchEmbeddings, PointWiseConv
from convmixer.model.layers import depthwise_conv2d as depthwise_reference
from convmixer.model.layers import pointwise_conv2d as pointwise_reference

CHOICES = ("auto", "torch", "native")


class Path(NamedTuple):
    """The path in use.

    Attributes:
        name: `torch`, or `native` with the instruction set; on another one the same run may get other bits.
        note: what a user may want to know about it, or nothing.
    """

    name: str
    note: str = ""


def choose_path(model: nn.Module, kernels: str, device: torch.device, precision: torch.dtype) -> Path:
    """Let the layers of `model` go through the native kernels, wherever these fit, or through PyTorch's operations.

    On a GPU the native kernels also change the order in memory, of weights and of what goes through the network: NCHW.

    Args:
        kernels: one of `CHOICES`; auto is native for float32 on the CPU where it can be compiled. On a GPU it is torch
            until Triton's kernels were measured on one.

    Raises:
        UserError: native is asked for, and is not available.
    """
    path = _native_path(kernels, device, precision) if kernels != "torch" else Path("torch")
    is_native = path.name != "torch"
    memory_format = order_on(device) if is_native else torch.channels_last
    if memory_format is torch.contiguous_format:
        model.to(memory_format=memory_format)
    for module in model.modules():
        if isinstance(module, PatchEmbeddings):
            module.memory_format = memory_format
        if isinstance(module, DepthWiseConv):
            module.convolve = depthwise_conv2d if is_native else depthwise_reference
        if isinstance(module, PointWiseConv):
            module.convolve = pointwise_conv2d if is_native and device.type == "cuda" else pointwise_reference
        if isinstance(module, ConvMixerLayer):
            module.fused = _fused(device) if is_native else None
    return path


def _fused(device: torch.device) -> FusedForward:
    return PlaneLayer() if device.type == "cuda" else NativeLayer()


def _native_path(kernels: str, device: torch.device, precision: torch.dtype) -> Path:
    if device.type == "cuda" and kernels == "native" and triton_is_available():
        return Path("native (Triton)", "never run on a GPU before: compare with kernels=torch")
    try:
        name = str(precision).removeprefix("torch.")
        if device.type != "cpu" or precision is not torch.float32:
            raise Unavailable(f"the native kernels are for float32 on the CPU, not {name} on {device.type}")
        built = library()
    except Unavailable as reason:
        if kernels == "native":
            raise UserError(f"kernels=native: {reason}; kernels=torch does without") from None
        return Path("torch", str(reason) if device.type == "cpu" else "")
    compiled = f"compiled in {built.seconds:.1f} s, once" if built.seconds else ""
    return Path(f"native ({built.instructions})", compiled)
