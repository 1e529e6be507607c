"""A network through torch.compile, as it is trained."""

import copy

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
    layers = getattr(model, "conv_mixer_layers", None)
    if mode != "default" or not isinstance(layers, nn.ModuleList):
        return torch.compile(model, mode=mode, dynamic=False)
    whole = copy.copy(model)
    whole._modules = {name: _compiled_part(part, layers) for name, part in model.named_children()}
    return whole


def _compiled_part(part: nn.Module, layers: nn.ModuleList) -> nn.Module:
    if part is layers:
        return nn.ModuleList(torch.compile(layer, dynamic=False) for layer in layers)
    return torch.compile(part, dynamic=False)
