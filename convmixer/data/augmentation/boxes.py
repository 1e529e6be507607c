"""Boxes within an image: four integers, top, left, height and width, in pixels."""

import math

import torch
from torch import Tensor

from convmixer.data.augmentation.draws import below, between

ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 2  # that `random_boxes` takes for each image


def random_boxes(
    draws: Tensor, scale: tuple[float, float], ratio: tuple[float, float], height: int, width: int
) -> tuple[Tensor, Tensor]:
    """A box for each image as torchvision's RandomResizedCrop draws it.

    Its share of the area is uniform within `scale`, the logarithm of width / height uniform within that of `ratio`; the
    first of ten such boxes that fits into the image is put at a random place. Where none fits it is the largest box in
    the middle whose ratio is allowed.

    Args:
        draws: uniform in [0, 1), `[batch, DRAWS]`.

    Returns:
        int64 `[batch, 4]`: top, left, height, width; and bool `[batch]`: whether one of the ten fitted.
    """
    area = between(draws[:, :ATTEMPTS], *scale) * (height * width)
    log_ratio = between(draws[:, ATTEMPTS:-2], math.log(ratio[0]), math.log(ratio[1]))
    widths = (area * log_ratio.exp()).sqrt().round().long()
    heights = (area / log_ratio.exp()).sqrt().round().long()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.gather(1, first)
    rows = torch.where(found, heights.gather(1, first), max(1, min(height, round(width / ratio[0]))))
    columns = torch.where(found, widths.gather(1, first), max(1, min(width, round(height * ratio[1]))))
    place = torch.where(found, draws[:, -2:], 0.5)
    top, left = below(place[:, :1], height - rows + 1), below(place[:, 1:], width - columns + 1)
    return torch.cat([top, left, rows, columns], 1), found[:, 0]


def cut_off(first: Tensor, end: Tensor, height: int, width: int) -> Tensor:
    """The parts within the image of the boxes from `first` to before `end`, each int64 `[batch, 2]`: `[batch, 4]`."""
    size = torch.tensor([height, width])
    first, end = first.clamp(min=0), end.minimum(size)
    return torch.cat([first, end - first], 1)


def paste(images: Tensor, others: Tensor, boxes: Tensor) -> Tensor:
    """Put the `others` into a box of each image.

    Args:
        images: `[batch, height, width, channels]`.
        others: of the same type; as many, or one row of pixels, `[width * channels]`, for all.
        boxes: int64 `[batch, 4]`; without height they hold no pixel.
    """
    _, height, width, channels = images.shape
    top, left, rows, columns = boxes.to(images.device, non_blocking=True).unsqueeze(-1).unbind(1)
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device).repeat_interleave(channels)
    in_rows = (y >= top) & (y < top + rows)
    in_columns = (x >= left) & (x < left + columns)
    # 0 or 1 for each level. Multiplying by it is exact, and many times as quick on a CPU as `where`.
    mask = in_rows.to(images.dtype)[:, :, None] * in_columns.to(images.dtype)[:, None, :]
    others = others.flatten(2) if others.dim() == 4 else others
    return (images.flatten(2) * (1 - mask) + others * mask).view(images.shape)
