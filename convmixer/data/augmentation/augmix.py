"""AugMix: each image mixed with several augmented versions of itself (Hendrycks et al., arXiv 1912.02781).

The consistency loss of the paper is not there: it needs three views of each image in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from convmixer.data.augmentation import affine
from convmixer.data.augmentation.draws import below
from convmixer.data.augmentation.operation import Operation, to_levels, truncate
from convmixer.data.augmentation.randaugment import IDENTITY, Choice, apply_choices, torchvision_choices

CHAINS = 3
LONGEST = 3  # operations in a chain; 1 to 3, equally likely
STRENGTHS = 10  # 0, 1/9, ..., 1, of which `severity` are drawn, the weakest


def mild(channels: int, height: int, width: int) -> list[Choice]:
    """The 13 operations of torchvision's AugMix: RandAugment's without the one that does nothing, bilinear."""
    choices = torchvision_choices(channels, (width / 3, height / 3))
    view = {"interpolation": "bilinear", "fill": (0.0,) * channels}
    for name, operation in (
        ("shear_x", affine.shear_x),
        ("shear_y", affine.shear_y),
        ("translate_x", affine.translate_x),
        ("translate_y", affine.translate_y),
        ("rotate", affine.rotate),
    ):
        choices[name] = choices[name]._replace(operation=partial(operation, **view))
    choices["posterise"] = choices["posterise"]._replace(argument=lambda s: 4 - (4 * s).round().long())
    return [choice for choice in choices.values() if choice is not IDENTITY]


@dataclass(frozen=True)
class AugMix(Operation):
    """Mixes an image with `CHAINS` augmented versions of it, each after a chain of random operations.

    The shares of the chains are drawn from Dirichlet(1, 1, 1), that of the image itself from Beta(1, 1), as in the
    paper.

    Args:
        severity: the largest strength, of 10; 3 in the paper.
    """

    columns: ClassVar[int] = 1 + CHAINS * (2 + 3 * LONGEST)
    choices: Sequence[Choice]
    severity: int

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        images = to_levels(images)
        of_image, of_chains = draws[:, 0], draws[:, 1:].unflatten(1, (CHAINS, -1))
        shares = (
            -(1 - of_chains[:, :, 0]).log().clamp(max=-1e-12)
        )  # exponential; normalised, they are Dirichlet(1, ...)
        shares = (1 - of_image)[:, None] * shares / shares.sum(1, keepdim=True)
        mixed = _weighted(images, of_image)
        for chain, share in zip(of_chains.unbind(1), shares.unbind(1), strict=True):
            mixed += _weighted(self._chain(images, chain[:, 1], chain[:, 2:].unflatten(1, (LONGEST, 3))), share)
        return truncate(mixed)

    def _chain(self, images: Tensor, how_many: Tensor, draws: Tensor) -> Tensor:
        """1 to `LONGEST` operations on each image, one after another; `draws`: `[batch, LONGEST, 3]`."""
        length = 1 + below(how_many, LONGEST)
        choices = [IDENTITY, *self.choices]
        for number, turn in enumerate(draws.unbind(1)):
            which, how_strong, direction = turn.unbind(1)
            drawn = (1 + below(which, len(self.choices))) * (number < length)
            strength = below(how_strong, self.severity) / (STRENGTHS - 1)
            images = apply_choices(images, choices, drawn, strength, direction)
        return images


def _weighted(images: Tensor, share: Tensor) -> Tensor:
    """Float32 levels, times a share of each image, `[batch]`, on the host."""
    return images.to(torch.float32) * share.to(images.device, non_blocking=True)[:, None, None, None]
