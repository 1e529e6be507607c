"""Operations on the levels of uint8 images `[batch, height, width, channels]`, each level by itself.

As Pillow's ImageOps has them, and torchvision and timm after it; all but `auto_contrast` to the last level.
"""

import torch
from torch import Tensor


def invert(images: Tensor) -> Tensor:
    """255 minus each level."""
    return 255 - images


def posterise(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the `bits` highest bits of each level; int64 `[batch]`, 0 to 8."""
    mask = 256 - 2 ** (8 - bits)
    return images & mask.to(torch.uint8)[:, None, None, None]


def solarise(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the levels from `threshold` on, `[batch]`."""
    first = threshold.ceil().long()[:, None, None, None]
    return torch.where(images < first, images, 255 - images)


def solarise_add(images: Tensor, added: Tensor) -> Tensor:
    """Raise the levels below 128 by `added`, int64 `[batch]`, 0 to 127; timm's operation of that name."""
    room = torch.minimum(255 - images, added.to(torch.uint8)[:, None, None, None])
    return images + room * (images < 128)


def auto_contrast(images: Tensor) -> Tensor:
    """Spread the levels of each channel so that the darkest is 0 and the brightest 255; of one level: unchanged.

    In integers, rounded down. Pillow's rounding errors make it one level less at times.
    """
    width = images.shape[2]
    low, high = (each.int().repeat(1, width)[:, None] for each in (images.amin((1, 2)), images.amax((1, 2))))
    rows = images.flatten(2)
    spread = (rows - low) * 255 // (high - low).clamp(min=1)
    return torch.where(low == high, rows, spread.to(torch.uint8)).view(images.shape)


def equalise(images: Tensor) -> Tensor:
    """Map the levels of each channel so that they are used about equally often.

    A level becomes the number of pixels below it, in units of a 255th of those below the channel's brightest level.
    """
    batch, height, width, channels = images.shape
    levels = images.flatten(1, 2).transpose(1, 2).long()
    counts = torch.zeros(batch, channels, 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    brightest = counts.gather(2, levels.amax(2, keepdim=True))
    unit = (height * width - brightest) // 255
    below = counts.cumsum(2) - counts
    table = (below + unit // 2) // unit.clamp(min=1)
    table = torch.where(unit == 0, torch.arange(256, device=images.device), table.clamp(max=255))
    equalised = table.to(torch.uint8).gather(2, levels)
    return equalised.transpose(1, 2).reshape(images.shape)
