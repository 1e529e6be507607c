"""Random brightness, contrast and colour."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import ClassVar

import torch
from torch import Tensor

from convmixer.data.augmentation.blends import brightness, colour, contrast
from convmixer.data.augmentation.draws import below, between
from convmixer.data.augmentation.operation import Operation, apply_each, to_levels

BLENDS = (brightness, contrast, colour)
ORDERS = torch.tensor(list(permutations(range(len(BLENDS)))))


@dataclass(frozen=True)
class Jitter(Operation):
    """Brightness, contrast and colour by factors from 1 - `strength` to 1 + `strength`, in random order.

    torchvision's ColorJitter(strength, strength, strength); no hue, as in the paper's recipe.
    """

    columns: ClassVar[int] = len(BLENDS) + 1
    strength: float

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        images = to_levels(images)
        factors = between(draws[:, :-1], max(0.0, 1 - self.strength), 1 + self.strength)
        order = ORDERS[below(draws[:, -1], len(ORDERS))]
        blends = [partial(_blend_by, blend, factors[:, number]) for number, blend in enumerate(BLENDS)]
        for turn in order.unbind(1):
            images = apply_each(images, turn, blends)
        return images


def _blend_by(blend: Callable[[Tensor, Tensor], Tensor], factors: Tensor, images: Tensor, rows: Tensor) -> Tensor:
    return blend(images, factors[rows].to(images.device, non_blocking=True))
