"""Test-time views: an image's logits averaged over the image, its mirror image and shifted ones (`--tta`)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class View:
    """A way to look at an image.

    Attributes:
        weight: of its logits in the mean.
        down, right: pixels by which the image is shifted; its edge is reflected into what becomes free.
    """

    weight: float
    mirrored: bool = False
    down: int = 0
    right: int = 0

    def of(self, images: Tensor) -> Tensor:
        """Return the view of each image: uint8 `[batch, height, width, channels]`."""
        seen = images.flip(2) if self.mirrored else images
        return _shifted(seen, self.down, self.right) if self.down or self.right else seen


def _shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Shift images by less than their size; pixels that come in are a reflection without the edge itself."""
    _, height, width, _ = images.shape
    edges = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    padded = F.pad(images.permute(0, 3, 1, 2).float(), edges, mode="reflect").permute(0, 2, 3, 1)
    top, left = max(-down, 0), max(-right, 0)
    return padded[:, top : top + height, left : left + width].to(torch.uint8)


def _mirrored_too(weight: float, down: int = 0, right: int = 0) -> tuple[View, View]:
    return View(weight / 2, False, down, right), View(weight / 2, True, down, right)


# `shifts` are the six views of airbench94.py in KellerJordan/cifar10-airbench (arXiv 2404.00498): half of the weight on
# the image in its place, a quarter on it one pixel up and left, a quarter on it one pixel down and right.
VIEWS: dict[str, tuple[View, ...]] = {
    "mirror": _mirrored_too(1.0),
    "shifts": (*_mirrored_too(0.5), *_mirrored_too(0.25, -1, -1), *_mirrored_too(0.25, 1, 1)),
}
DESCRIPTIONS = {
    "mirror": "mean logits of each image and its mirror image",
    "shifts": "mean logits of each image in its place and one pixel up left and down right, each mirrored too",
}
