"""Gives every key its value: from the defaults, then the recipe, then the given values."""

from collections.abc import Mapping
from typing import Any

import torch

from convmixer.configs.keys import Key
from convmixer.configs.overrides import check
from convmixer.configs.recipes import RECIPES
from convmixer.errors import UserError
from convmixer.model.variants import SIZES
from convmixer.tracking.repeating import LENGTHS


def resolve(given: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Give every key its value: the default, then the recipe's, then the given one.

    Raises:
        UserError: more than one of epochs, steps and minutes is given.
    """
    lengths = [name for name in LENGTHS if given.get(name) is not None]
    if len(lengths) > 1:
        raise UserError(f"overrides: {' and '.join(lengths)} exclude each other: give only one of them")
    recipe = given.get("recipe", "auto")
    if recipe == "auto":
        device = given.get("device", "auto")
        recipe = "base" if device.startswith("cuda") or _has_gpu(device) else "small"
    values = {name: key.default for name, key in keys.items()}
    for layer in (check(RECIPES[recipe](), keys, f"recipe {recipe}"), given):
        size = layer.get("model_size")
        values |= (SIZES[size] if size else {}) | layer
    if given.get("pretrained") and "starts" not in given:
        values["starts"] = []  # the recipe's initial weights are not needed
    return values | {"recipe": recipe}


def _has_gpu(device: str) -> bool:
    return device == "auto" and torch.cuda.is_available()
