"""Weights as files that run no code when read: safetensors, with what is needed to use them in the file's metadata."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from convmixer.errors import UserError

METADATA = "convmixer"


def save_weights(path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write a state dict, and plain values beside it.

    Raises:
        UserError: the file can't be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    try:
        safetensors.torch.save_file(tensors, path, {METADATA: json.dumps(metadata)})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: can't be written: {error}") from None


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A state dict and what stands beside it.

    Raises:
        UserError: there is no such file, it is damaged, or it was not written by `save_weights`.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: has no {METADATA!r} metadata, expected a file that `export` wrote")
    return weights, metadata
