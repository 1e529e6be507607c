"""The order of a tensor in memory that all kernels expect."""

import torch
from torch import Tensor, channels_last


def in_order(x: Tensor) -> Tensor:
    """The tensor with the channels of a pixel side by side in memory."""
    return x.contiguous(memory_format=channels_last)


def like(x: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, channels_last."""
    return torch.empty_like(x, memory_format=channels_last)
