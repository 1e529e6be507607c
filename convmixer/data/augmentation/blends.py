"""Brightness, contrast, colour and sharpness of uint8 images `[batch, height, width, channels]`.

Each mixes the image with one that has none of it, `factor` parts to 1 - factor: 0 gives that other image, 1 the image
itself, more than 1 goes beyond it. As Pillow's ImageEnhance, and torchvision's and timm's operations on Pillow images,
to the last level. torchvision's operations on tensors weigh the channels with fewer digits: up to a level apart.
"""

import torch
from torch import Tensor

from convmixer.data.augmentation.operation import truncate

# Of red, green and blue in grey, in parts of 2^16 (ITU-R 601). All sums stay below 2^24 and are exact in float32.
GREY = (19595.0, 38470.0, 7471.0)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Mix with black; `factor`: `[batch]`."""
    return _blend(images, 0.0, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Mix with the grey that is the image's mean; `factor`: `[batch]`."""
    grey = _grey(images)
    pixels = grey[0].numel()
    mean = (2 * grey.sum((1, 2), dtype=torch.int64) + pixels) // (2 * pixels)
    return _blend(images, mean[:, None], factor)


def colour(images: Tensor, factor: Tensor) -> Tensor:
    """Mix with the image in grey; `factor`: `[batch]`. Also called saturation."""
    grey = torch.stack([_grey(images)] * 3, -1)
    return _blend(images, grey.flatten(1), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Mix with the image smoothed by [1 1 1; 1 5 1; 1 1 1] / 13, whose outermost pixels stay; `factor`: `[batch]`."""
    levels = images.float()
    columns = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    square = columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:]
    smooth = levels.clone()
    smooth[:, 1:-1, 1:-1] = ((square + 4 * levels[:, 1:-1, 1:-1]) / 13).round()
    return _blend(images, smooth.flatten(1), factor)


def _grey(images: Tensor) -> Tensor:
    """Whole grey levels of three channels, float32: `[batch, height, width]`."""
    weights = torch.tensor(GREY).to(images.device, non_blocking=True)
    return ((images.float() @ weights + 2**15) / 2**16).floor()


def _blend(images: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
    """`other`: levels, whatever broadcasts to `[batch, height * width * channels]`."""
    mixed = (images.flatten(1).float() - other) * factor[:, None] + other
    return truncate(mixed).view(images.shape)
