"""Pixels at places between pixels."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from convmixer.data.augmentation.operation import truncate

Interpolation = Literal["nearest", "bilinear"]


def sample(
    images: Tensor, y: Tensor, x: Tensor, interpolation: Interpolation, fill: tuple[float, ...] | None = None
) -> Tensor:
    """Sample each image at the places `y`, `x`; uint8 images give rounded levels.

    Args:
        images: uint8 or float `[batch, height, width, channels]`.
        y, x: `[batch, height, width]`, or what broadcasts to it: pixels from the image's top left corner, so that the
            first pixel's centre is at 0.5.
        fill: the level of each channel outside of the image; none: what is nearest at its edge.
    """
    height, width = images.shape[1:3]
    grid = torch.stack(torch.broadcast_tensors(2 * x / width - 1, 2 * y / height - 1), -1)
    planes = images.float().permute(0, 3, 1, 2).contiguous()
    if fill is None:
        planes = F.grid_sample(planes, grid, mode=interpolation, padding_mode="border", align_corners=False)
    else:
        # grid_sample knows of no level outside but 0: it is given the differences to the fill.
        outside = torch.tensor(fill).to(images.device, non_blocking=True)[:, None, None]
        planes = F.grid_sample(planes - outside, grid, mode=interpolation, align_corners=False) + outside
    if images.dtype == torch.uint8:
        planes = truncate(planes.round_())
    return torch.stack(planes.unbind(1), -1)
