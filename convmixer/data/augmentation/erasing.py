"""A box of each image made blank, or noise."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from convmixer.data.augmentation import boxes
from convmixer.data.augmentation.draws import below
from convmixer.data.augmentation.operation import Operation

SCALE, RATIO = (0.02, 1 / 3), (0.3, 1 / 0.3)  # share of the area; width / height: timm's
NOISE_LENGTH = 2**20

Colour = tuple[float, ...]


def plain(images: Tensor, colour: Colour) -> Tensor:
    """A row of pixels of one colour, levels 0 to 255, as the images have them: `[width * channels]`."""
    levels = torch.tensor(colour)
    levels = levels if images.is_floating_point() else levels.round()
    return levels.to(images.device, images.dtype, non_blocking=True).repeat(images.shape[2])


def noise(images: Tensor, draws: Tensor, mean: Colour, std: Colour) -> Tensor:
    """Normal noise of the data's mean and deviation: float32, the shape of `images`.

    Each image's is a stretch, begun at a drawn place, of one sequence of 2^20 numbers.

    Args:
        draws: uniform in [0, 1), `[batch]`, on the host.
    """
    height, width = images.shape[1:3]
    length = images[0].numel()
    start = below(draws, NOISE_LENGTH).to(images.device, non_blocking=True)
    numbers = _standard_noise(length, images.device)
    stretches = numbers.as_strided((NOISE_LENGTH, length), (1, 1)).index_select(0, start)
    mean, std = (torch.tensor(levels).repeat(width).to(images.device, non_blocking=True) for levels in (mean, std))
    return (stretches.unflatten(1, (height, -1)) * std + mean).view(images.shape)


@cache
def _standard_noise(more: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(NOISE_LENGTH + more, generator=generator).to(device)


@dataclass(frozen=True)
class Erasing(Operation):
    """A box of random place, size and shape in each image, with a probability: of the mean colour, or of noise.

    With noise the images become float, as its levels are not cut off at 0 and 255. Source: Zhong et al., "Random
    Erasing Data Augmentation" (arXiv 1708.04896). The boxes are timm's, but may take a whole side of the image.

    Args:
        mean, std: of the data's channels, within 0 to 255.
    """

    columns: ClassVar[int] = boxes.DRAWS + 2  # and whether, and which noise
    probability: float
    with_noise: bool
    mean: Colour
    std: Colour

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        parts, fits = boxes.random_boxes(draws[:, 2:], SCALE, RATIO, *images.shape[1:3])
        parts = parts * (fits & (draws[:, 0] < self.probability))[:, None]
        if self.with_noise:
            return boxes.paste(images.float(), noise(images, draws[:, 1], self.mean, self.std), parts)
        return boxes.paste(images, plain(images, self.mean), parts)


@dataclass(frozen=True)
class Cutout(Operation):
    """A square of `pixels` of the mean colour in each image, centred on a random pixel, cut off at the edges.

    Source: DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (arXiv 1708.04552).
    """

    pixels: int
    mean: Colour

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        corner = torch.stack([below(draws[:, 0], height), below(draws[:, 1], width)], 1) - self.pixels // 2
        parts = boxes.cut_off(corner, corner + self.pixels, height, width)
        return boxes.paste(images, plain(images, self.mean), parts)
