"""Mirroring left-right."""

import torch
from torch import Tensor

from convmixer.data.augmentation.draws import uniform
from convmixer.data.augmentation.operation import Operation


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror images left-right where `mirrored`, bool `[batch]`.

    Args:
        images: `[batch, height, width, channels]`.
    """
    n = len(images)
    row = torch.arange(n) + n * mirrored
    both = torch.cat([images, images.flip(2)])
    return both.index_select(0, row.to(images.device, non_blocking=True))


class Flip(Operation):
    """Mirror each image with probability 1/2, anew in each epoch. Two draws, of which the first is used."""

    is_mild = True

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return flip(images, draws[:, 0] < 0.5)


class AlternatingFlip(Operation):
    """Mirror each image in every other epoch: half of them, drawn once, in the even epochs, the others in the odd ones.

    Two epochs then show each image both ways, which random flips do only half the time. Source: Keller Jordan, "94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498, section 3.6).
    """

    columns = 1
    is_mild = True

    def draw(self, n: int, seed: int, epoch: int, name: str) -> Tensor:
        return (uniform(n, 1, seed, name) + epoch / 2) % 1

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return flip(images, draws[:, 0] < 0.5)
