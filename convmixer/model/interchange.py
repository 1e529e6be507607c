"""Converts the weights of other ConvMixers to ours, and back: the same tensors under other names.

| ours, and labml_nn's | timm | the authors' `nn.Sequential` of n layers |
|---|---|---|
| `patch_emb.conv`, `patch_emb.norm` | `stem.0`, `stem.2` | `0`, `2` |
| `conv_mixer_layers.i.depth_wise_conv`, `.norm1` | `blocks.i.0.fn.0`, `.0.fn.2` | `i+3.0.fn.0`, `.0.fn.2` |
| `conv_mixer_layers.i.point_wise_conv`, `.norm2` | `blocks.i.1`, `.3` | `i+3.1`, `.3` |
| `classification.linear` | `head` | `n+5` |

Sources: `timm.models.convmixer`, locuslab/convmixer, `labml_nn.conv_mixer`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from convmixer.errors import UserError
from convmixer.model.variants import conv_mixer

Weights = dict[str, Tensor]

LAYOUTS = ("timm", "authors", "labml")

# A tensor that only this layout has, and the pattern of a tensor that each layer has once.
_FIRST = {"timm": "stem.0.weight", "authors": "0.weight", "labml": "patch_emb.conv.weight"}
_SURE = {"timm": "stem.0.weight", "authors": "3.0.fn.0.weight", "labml": "patch_emb.conv.weight"}
_ONCE_A_LAYER = {
    "timm": r"blocks\.\d+\.0\.fn\.0\.weight",
    "authors": r"\d+\.0\.fn\.0\.weight",
    "labml": r"conv_mixer_layers\.\d+\.depth_wise_conv\.weight",
}
_PARTS = {"depth_wise_conv": "0.fn.0", "norm1": "0.fn.2", "point_wise_conv": "1", "norm2": "3"}


def to_layout(weights: Mapping[str, Tensor], layout: str) -> Weights:
    """Convert our state dict to one of `LAYOUTS`."""
    return _renamed(weights, _modules(layout, _count_layers(weights, "labml")))


def from_layout(weights: Mapping[str, Tensor], layout: str) -> Weights:
    """Convert a state dict from one of `LAYOUTS` to ours. Names that the layout does not have are not changed."""
    modules = _modules(layout, _count_layers(weights, layout))
    return _renamed(weights, {theirs: ours for ours, theirs in modules.items()})


def prefix(names: Iterable[str]) -> str | None:
    """Return the prefix of the names of a ConvMixer's tensors: `_orig_mod.module.`, `model.`, mostly nothing.

    None: they are no ConvMixer's.
    """
    names = list(names)
    for sure in _SURE.values():
        before = [name.removesuffix(sure) for name in names if f".{name}".endswith(f".{sure}")]
        if before:
            return min(before, key=len)
    return None


def recognise(weights: Mapping[str, Tensor], where: str) -> str:
    """Return the name in `LAYOUTS` of a state dict's layout, which its tensors' names show.

    Raises:
        UserError: it has none of these layouts.
    """
    for layout, name in _FIRST.items():
        if name in weights:
            return layout
    expected = ", ".join(f"{name} ({layout})" for layout, name in _FIRST.items())
    raise UserError(f"{where}: not a ConvMixer: it holds {_some(weights)}, expected one of {expected}")


def sizes_of(weights: Mapping[str, Tensor], where: str) -> dict[str, int]:
    """Return the arguments of `conv_mixer`, except the activation, from the shapes of our state dict.

    Raises:
        UserError: a tensor is missing, or the shapes are not those of one ConvMixer.
    """
    patches = _shape(weights, "patch_emb.conv.weight", 4, where)  # [d_model, in_channels, p, p]
    sizes = {
        "d_model": patches[0],
        "n_layers": _count_layers(weights, "labml"),
        "kernel_size": _shape(weights, "conv_mixer_layers.0.depth_wise_conv.weight", 4, where)[-1],
        "patch_size": patches[-1],
        "n_classes": _shape(weights, "classification.linear.weight", 2, where)[0],
        "in_channels": patches[1],
    }
    check_fit(weights, sizes, where)
    return sizes


def check_fit(weights: Mapping[str, Tensor], sizes: Mapping[str, Any], where: str) -> None:
    """Check that a state dict of ours fits a ConvMixer of these sizes.

    Raises:
        UserError: a tensor is missing, too many, or of another shape.
    """
    with torch.device("meta"):
        expected = conv_mixer(**sizes).state_dict()
    missing = [name for name in expected if name not in weights]
    if missing:
        raise UserError(f"{where}: lacks {_some(missing)} (in our names)")
    extra = [name for name in weights if name not in expected]
    if extra:
        raise UserError(f"{where}: holds {_some(extra)}, which a ConvMixer does not have")
    for name, tensor in expected.items():
        shape = list(weights[name].shape)
        if shape != list(tensor.shape):
            raise UserError(f"{where}: {name} (in our names) is {shape}, expected {list(tensor.shape)}")
        if weights[name].is_floating_point() != tensor.is_floating_point():
            kind, expected_kind = (str(t.dtype).removeprefix("torch.") for t in (weights[name], tensor))
            raise UserError(f"{where}: {name} (in our names) is of {kind}, expected {expected_kind}")


def _count_layers(weights: Iterable[str], layout: str) -> int:
    return sum(re.fullmatch(_ONCE_A_LAYER[layout], name) is not None for name in weights)


def _modules(layout: str, n_layers: int) -> dict[str, str]:
    """Return the layout's name for each of our modules with weights, if it differs from ours."""
    if layout == "labml":
        return {}
    if layout == "timm":
        stem, blocks, head = "stem.", [f"blocks.{i}" for i in range(n_layers)], "head"
    else:
        stem, blocks, head = "", [f"{i + 3}" for i in range(n_layers)], f"{n_layers + 5}"
    layers = {
        f"conv_mixer_layers.{i}.{ours}": f"{block}.{theirs}"
        for i, block in enumerate(blocks)
        for ours, theirs in _PARTS.items()
    }
    return {"patch_emb.conv": f"{stem}0", "patch_emb.norm": f"{stem}2", **layers, "classification.linear": head}


def _renamed(weights: Mapping[str, Tensor], modules: Mapping[str, str]) -> Weights:
    parts = ((*name.rpartition("."), tensor) for name, tensor in weights.items())
    return {f"{modules.get(module, module)}{dot}{kind}": tensor for module, dot, kind, tensor in parts}


def _shape(weights: Mapping[str, Tensor], name: str, dimensions: int, where: str) -> tuple[int, ...]:
    if name not in weights:
        raise UserError(f"{where}: lacks {name} (in our names)")
    shape = tuple(weights[name].shape)
    if len(shape) != dimensions or 0 in shape:
        raise UserError(f"{where}: {name} (in our names) is {list(shape)}, expected {dimensions} dimensions")
    return shape


def _some(names: Iterable[str]) -> str:
    """Return the first three names, shortened, and the number of the others."""
    shown = [ascii(name)[1:-1][:60] for name in names]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return ", ".join(shown[:3]) + more if shown else "nothing"
