"""3-Augment: each image in grey, solarised or blurred (Touvron et al., "DeiT III", arXiv 2204.07118).

The paper adds a flip and colour jitter of 0.3: `augment.ops=[flip,three_augment,jitter] augment.jitter=0.3`.
"""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convmixer.data.augmentation.blends import colour
from convmixer.data.augmentation.draws import below, between
from convmixer.data.augmentation.levels import solarise
from convmixer.data.augmentation.operation import Operation, apply_each, to_levels, truncate

BLUR = (0.1, 2.0)  # standard deviation in pixels, drawn uniformly
REACH = 6  # pixels to each side: three of the largest standard deviation


class ThreeAugment(Operation):
    """Grey, solarised from level 128 on, or blurred: each image becomes one of them, all equally likely."""

    columns: ClassVar[int] = 2  # draws for each image: which, how much blur

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        deviation = between(draws[:, 1], *BLUR)
        operations = [_grey, _solarised, partial(_blurred, deviation)]
        return apply_each(to_levels(images), below(draws[:, 0], len(operations)), operations)


def _grey(images: Tensor, rows: Tensor) -> Tensor:
    return colour(images, torch.zeros(len(rows), device=images.device))


def _solarised(images: Tensor, rows: Tensor) -> Tensor:
    return solarise(images, torch.full((len(rows),), 128.0, device=images.device))


def _blurred(deviation: Tensor, images: Tensor, rows: Tensor) -> Tensor:
    return gaussian_blur(images, deviation[rows].to(images.device, non_blocking=True))


def gaussian_blur(images: Tensor, deviation: Tensor) -> Tensor:
    """Blur uint8 images `[batch, height, width, channels]`, each by its standard deviation in pixels, `[batch]`.

    As torchvision's gaussian_blur: edges are reflected. It sees 6 pixels to each side, fewer in smaller images.
    """
    planes = images.permute(0, 3, 1, 2).float()
    for axis in (2, 3):
        planes = _blur_along(planes, axis, deviation)
    return truncate(planes.round()).permute(0, 2, 3, 1).contiguous()


def _blur_along(planes: Tensor, axis: int, deviation: Tensor) -> Tensor:
    size = planes.shape[axis]
    reach = min(REACH, size - 1)
    away = torch.arange(-reach, reach + 1, device=planes.device)
    weights = torch.exp(-0.5 * (away / deviation[:, None]).square())
    weights = weights / weights.sum(1, keepdim=True)
    edges = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    padded = F.pad(planes, edges, mode="reflect")
    shifted = (padded.narrow(axis, start, size) for start in range(2 * reach + 1))
    return sum(weight[:, None, None, None] * part for weight, part in zip(weights.unbind(1), shifted, strict=True))
