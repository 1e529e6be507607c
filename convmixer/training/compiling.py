"""A network through torch.compile, as it is trained."""

import copy
from functools import partial

import torch
from torch import nn


def compiled(model: nn.Module, mode: str) -> nn.Module:
    """`model`, compiled, on the same parameters; `model` itself stays as it is.

    Each part of a ConvMixer is compiled by itself: its layers have the same code, so they are compiled once. With CUDA
    graphs (`reduce-overhead`) the network is compiled whole, as every part would be a graph to start. A batch of
    another size is compiled for that size, not for any size.

    Args:
        mode: of torch.compile.
    """
    compile_ = partial(torch.compile, dynamic=False, **_settings(model, mode))
    layers = getattr(model, "conv_mixer_layers", None)
    if mode != "default" or not isinstance(layers, nn.ModuleList):
        return compile_(model)
    whole = copy.copy(model)
    whole._modules = {name: compile_(part) for name, part in model.named_children() if part is not layers}
    whole.conv_mixer_layers = nn.ModuleList(map(compile_, layers))
    return whole


def _settings(model: nn.Module, mode: str) -> dict:
    """The mode; where kernels want whole planes, also that the compiler leaves tensors in the order they have."""
    patch_embedding = getattr(model, "patch_emb", None)
    if getattr(patch_embedding, "memory_format", None) is not torch.contiguous_format:
        return {"mode": mode}
    from torch import _inductor  # takes seconds

    return {"options": _inductor.list_mode_options(mode) | {"layout_optimization": False}}
