"""TrivialAugment: one operation on each image, of any strength (Müller & Hutter, arXiv 2103.10158)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from convmixer.data.augmentation.draws import below
from convmixer.data.augmentation.operation import Operation, to_levels
from convmixer.data.augmentation.randaugment import Choice, apply_choices, torchvision_choices

STRENGTHS = 31  # 0, 1/30, ..., 1, all equally likely
FARTHEST = 32.0  # shift in pixels, whatever the size of the image: CIFAR-10's may leave altogether


def wide(channels: int) -> list[Choice]:
    """The paper's wide set, as in torchvision's TrivialAugmentWide: RandAugment's 14 operations, but far stronger."""
    choices = torchvision_choices(channels, (FARTHEST, FARTHEST), shear=0.99, degrees=135, blend=0.99, bits=6)
    return list(choices.values())


@dataclass(frozen=True)
class TrivialAugment(Operation):
    """One of `choices` on each image, all equally likely, with a strength that is drawn too. It has no arguments."""

    columns: ClassVar[int] = 3  # draws for each image: which, how strong, in which direction
    choices: Sequence[Choice]

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        which, how_strong, direction = draws.unbind(1)
        strength = below(how_strong, STRENGTHS) / (STRENGTHS - 1)
        drawn = below(which, len(self.choices))
        return apply_choices(to_levels(images), self.choices, drawn, strength, direction)
