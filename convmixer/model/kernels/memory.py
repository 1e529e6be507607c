"""The order of a tensor in memory that all kernels expect: channels_last on a CPU, whole planes (NCHW) on a GPU."""

import torch
from torch import Tensor


def order_on(device: torch.device) -> torch.memory_format:
    """The memory format of what the kernels read and write there."""
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last


def in_order(x: Tensor) -> Tensor:
    """The tensor, copied if it lies in memory in another order."""
    return x.contiguous(memory_format=order_on(x.device))


def like(x: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, in order."""
    return torch.empty_like(x, memory_format=order_on(x.device))
