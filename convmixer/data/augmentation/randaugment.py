"""RandAugment: a few operations out of a set, drawn for each image (Cubuk et al., arXiv 1909.13719).

An operation's argument follows from its strength, between 0 and 1: the magnitude, a bit random if wanted, over the
largest that the set knows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from convmixer.data.augmentation import affine, blends, levels
from convmixer.data.augmentation.draws import below, normal
from convmixer.data.augmentation.operation import Operation, apply_each, to_levels

DRAWS = 4  # for each operation on an image: which, whether, how strong, in which direction
LARGEST_MAGNITUDE = {"increasing": 10, "torchvision": 30}


class Choice(NamedTuple):
    """One operation of a set: `operation(images, argument(strength))`."""

    operation: Callable[[Tensor, Tensor], Tensor]
    argument: Callable[[Tensor], Tensor] = lambda strength: strength
    signed: bool = False  # the strength is negated for half of the images


IDENTITY = Choice(lambda images, _: images)


@dataclass(frozen=True)
class ChoiceSet:
    """The operations that RandAugment draws from, by name."""

    choices: dict[str, Choice]
    largest_magnitude: float
    probability: float  # that an operation, once drawn, is applied


def increasing(mean: tuple[float, ...], height: int, width: int) -> ChoiceSet:
    """timm's 15 operations of `rand-...-inc1`, all of them stronger at a larger magnitude. Magnitudes go up to 10.

    timm draws bilinear or bicubic interpolation for each; here it is bilinear. What comes in from outside of the image
    is the data's mean colour.

    Args:
        mean: of each channel, within 0 to 1.
    """
    view = {"interpolation": "bilinear", "fill": tuple(float(round(255 * channel)) for channel in mean)}
    choices = {
        "auto_contrast": Choice(_without_argument(levels.auto_contrast)),
        "equalise": Choice(_without_argument(levels.equalise)),
        "invert": Choice(_without_argument(levels.invert)),
        "rotate": Choice(partial(affine.rotate, **view), lambda s: 30 * s, signed=True),
        "posterise": Choice(levels.posterise, lambda s: 4 - (4 * s).long()),
        "solarise": Choice(levels.solarise, lambda s: 256 - (256 * s).floor()),
        "solarise_add": Choice(levels.solarise_add, lambda s: (110 * s).long()),
        "colour": Choice(blends.colour, lambda s: 1 + 0.9 * s, signed=True),
        "contrast": Choice(blends.contrast, lambda s: 1 + 0.9 * s, signed=True),
        "brightness": Choice(blends.brightness, lambda s: 1 + 0.9 * s, signed=True),
        "sharpness": Choice(blends.sharpness, lambda s: 1 + 0.9 * s, signed=True),
        "shear_x": Choice(partial(affine.shear_x, **view), lambda s: 0.3 * s, signed=True),
        "shear_y": Choice(partial(affine.shear_y, **view), lambda s: 0.3 * s, signed=True),
        "translate_x": Choice(partial(affine.translate_x, **view), lambda s: 0.45 * s * width, signed=True),
        "translate_y": Choice(partial(affine.translate_y, **view), lambda s: 0.45 * s * height, signed=True),
    }
    return ChoiceSet(choices, LARGEST_MAGNITUDE["increasing"], probability=0.5)


def torchvision(mean: tuple[float, ...], height: int, width: int) -> ChoiceSet:
    """torchvision's 14, one of which is to do nothing. Magnitudes go up to 30; nearest pixels, black outside."""
    farthest = 150 / 331  # shift, as a share of the side
    choices = torchvision_choices(len(mean), (farthest * width, farthest * height))
    return ChoiceSet(choices, LARGEST_MAGNITUDE["torchvision"], probability=1.0)


def torchvision_choices(
    channels: int,
    farthest: tuple[float, float],
    shear: float = 0.3,
    degrees: float = 30,
    blend: float = 0.9,
    bits: int = 4,
) -> dict[str, Choice]:
    """torchvision's 14 operations, with what each does at strength 1.

    Args:
        farthest: shift in pixels, across and down.
        blend: brightness, colour, contrast and sharpness change by a factor of 1 -+ this.
        bits: of the 8 of each level, so many are lost.
    """
    view = {"interpolation": "nearest", "fill": (0.0,) * channels}
    across, down = farthest
    return {
        "identity": IDENTITY,
        "shear_x": Choice(partial(affine.shear_x, **view), lambda s: shear * s, signed=True),
        "shear_y": Choice(partial(affine.shear_y, **view), lambda s: shear * s, signed=True),
        "translate_x": Choice(partial(affine.translate_x, **view), lambda s: (across * s).trunc(), signed=True),
        "translate_y": Choice(partial(affine.translate_y, **view), lambda s: (down * s).trunc(), signed=True),
        "rotate": Choice(partial(affine.rotate, **view), lambda s: degrees * s, signed=True),
        "brightness": Choice(blends.brightness, lambda s: 1 + blend * s, signed=True),
        "colour": Choice(blends.colour, lambda s: 1 + blend * s, signed=True),
        "contrast": Choice(blends.contrast, lambda s: 1 + blend * s, signed=True),
        "sharpness": Choice(blends.sharpness, lambda s: 1 + blend * s, signed=True),
        "posterise": Choice(levels.posterise, lambda s: 8 - (bits * s).round().long()),
        "solarise": Choice(levels.solarise, lambda s: 255 * (1 - s)),
        "auto_contrast": Choice(_without_argument(levels.auto_contrast)),
        "equalise": Choice(_without_argument(levels.equalise)),
    }


def _without_argument(operation: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, _: operation(images)


CHOICE_SETS = {"increasing": increasing, "torchvision": torchvision}


@dataclass(frozen=True)
class RandAugment(Operation):
    """`n` operations out of `choices` on each image, one after another; the same may be drawn again.

    The magnitude of each is drawn from a normal distribution of that mean and `deviation`, then kept within what the
    set knows (timm's `mstd`).
    """

    choices: ChoiceSet
    n: int
    magnitude: float
    deviation: float

    @property
    def columns(self) -> int:
        return DRAWS * self.n

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        images = to_levels(images)
        for turn in draws.unflatten(1, (self.n, DRAWS)).unbind(1):
            images = self._once(images, *turn.unbind(1))
        return images

    def _once(self, images: Tensor, which: Tensor, whether: Tensor, how_strong: Tensor, direction: Tensor) -> Tensor:
        """One operation on each image."""
        choices = [IDENTITY, *self.choices.choices.values()]
        drawn = (1 + below(which, len(choices) - 1)) * (whether < self.choices.probability)
        magnitude = self.magnitude + self.deviation * normal(how_strong)
        strength = (magnitude / self.choices.largest_magnitude).clamp(0, 1)
        return apply_choices(images, choices, drawn, strength, direction)


def apply_choices(
    images: Tensor, choices: Sequence[Choice], drawn: Tensor, strength: Tensor, direction: Tensor
) -> Tensor:
    """Apply to each image one of the choices.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        drawn: places in `choices`, int64 `[batch]`.
        strength: 0 to 1, `[batch]`; it is negated for signed choices where `direction`, within [0, 1), is from 0.5 up.
    """
    signed = torch.where(direction < 0.5, strength, -strength)
    operations = [partial(_operate, choice, signed if choice.signed else strength) for choice in choices]
    return apply_each(images, drawn, operations)


def _operate(choice: Choice, strength: Tensor, images: Tensor, rows: Tensor) -> Tensor:
    argument = choice.argument(strength[rows])
    return choice.operation(images, argument.to(images.device, non_blocking=True))
