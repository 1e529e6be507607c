"""Showing a part of each image: shifted, enlarged, or as it is."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from convmixer.data.augmentation import boxes
from convmixer.data.augmentation.draws import below
from convmixer.data.augmentation.operation import Operation
from convmixer.data.augmentation.sampling import sample


def pad_by_reflection(images: Tensor, pixels: int) -> Tensor:
    """`pixels` more on each side of `[batch, height, width, channels]`: the mirror image, without the edge itself."""
    height, width = images.shape[1:3]
    left = [images[:, :, i : i + 1] for i in range(pixels, 0, -1)]
    right = [images[:, :, i : i + 1] for i in range(width - 2, width - 2 - pixels, -1)]
    row = torch.arange(-pixels, height + pixels, device=images.device)
    row = (height - 1) - ((height - 1) - row.abs()).abs()
    return torch.cat([*left, images, *right], 2).index_select(1, row)


def crop(images: Tensor, corners: Tensor, height: int, width: int) -> Tensor:
    """A part of each image, `[batch, height, width, channels]`.

    Args:
        images: contiguous `[batch, rows, columns, channels]`.
        corners: int64 `[batch, 2]`, on the host: first row and column of the part.
    """
    batch, rows, columns, channels = images.shape
    start = (torch.arange(batch) * rows + corners[:, 0]) * columns + corners[:, 1]
    # All parts there could be, each beginning at a pixel of its own, as a view of the same memory. Picking whole parts
    # from it copies row by row, which is far quicker than picking pixel by pixel.
    places = (batch * rows - height) * columns + columns - width + 1
    parts = images.as_strided((places, height, width * channels), (channels, columns * channels, 1))
    return parts.index_select(0, start.to(images.device, non_blocking=True)).view(batch, height, width, channels)


def translate(images: Tensor, draws: Tensor, pixels: int) -> Tensor:
    """Shift each image by up to `pixels` either way on each axis; what comes in is the reflection of the edge.

    The same as torchvision's RandomCrop with reflecting padding.

    Args:
        images: `[batch, height, width, channels]`.
        draws: uniform in [0, 1), `[batch, 2]`: down, right.
    """
    height, width = images.shape[1:3]
    return crop(pad_by_reflection(images, pixels), below(draws, 2 * pixels + 1), height, width)


def enlarge(images: Tensor, parts: Tensor) -> Tensor:
    """A part of each image, bilinearly resized to the size of the image.

    What torchvision's `resized_crop` gives; its antialiasing has no effect where nothing is made smaller.

    Args:
        images: `[batch, height, width, channels]`.
        parts: int64 `[batch, 4]`: top, left, height, width.
    """
    height, width = images.shape[1:3]
    top, left, rows, columns = parts.to(images.device, non_blocking=True).unsqueeze(-1).unbind(1)
    y = _places(top, rows, height)
    x = _places(left, columns, width)
    return sample(images, y[:, :, None], x[:, None, :], "bilinear")


def _places(first: Tensor, length: Tensor, size: int) -> Tensor:
    """Return the centres of `size` pixels that are spread over `length` pixels from `first` on: `[batch, size]`.

    Never beyond the centre of the part's outermost pixel: what is next to the part does not shine in.
    """
    place = (torch.arange(size, device=first.device) + 0.5) * (length / size)
    return first + place.clamp(min=0.5).minimum(length - 0.5)


@dataclass(frozen=True)
class Translate(Operation):
    """`translate`, by up to `pixels`."""

    is_mild: ClassVar[bool] = True
    pixels: int

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return translate(images, draws, self.pixels)


@dataclass(frozen=True)
class ResizedCrop(Operation):
    """A random part of each image, as large as the image: torchvision's RandomResizedCrop, bilinear.

    Source: Szegedy et al., "Going Deeper with Convolutions" (arXiv 1409.4842, section 6).
    """

    columns: ClassVar[int] = boxes.DRAWS
    is_mild: ClassVar[bool] = True
    scale: tuple[float, float]
    ratio: tuple[float, float]

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        parts, _ = boxes.random_boxes(draws, self.scale, self.ratio, *images.shape[1:3])
        return enlarge(images, parts)


@dataclass(frozen=True)
class SmallCrop(Operation):
    """A part of each image, with `share` of its height and width: fewer pixels, which take less time to learn from.

    Pixels keep their scale, so that the network may see whole images later.
    """

    share: float
    patch_size: int = 1  # the part is a whole number of patches

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        rows, columns = images.shape[1:3]
        height, width = self.shape(rows, columns)
        corners = torch.stack([below(draws[:, 0], rows - height + 1), below(draws[:, 1], columns - width + 1)], 1)
        return crop(images.contiguous(), corners, height, width)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the part of an image."""
        p = self.patch_size
        return max(p, round(self.share * height) // p * p), max(p, round(self.share * width) // p * p)
