"""Rotation, shear and translation of images, `[batch, height, width, channels]`, each by its own argument, `[batch]`.

What comes in from outside of the image is `fill`, a level for each channel. As timm's operations (Pillow's `transform`
and `rotate`) and torchvision's, but for rounding and the outermost pixels under bilinear interpolation: there Pillow
takes the nearest pixel or the fill, and torchvision mixes the fill in twice.
"""

import torch
from torch import Tensor

from convmixer.data.augmentation.sampling import Interpolation, sample

Fill = tuple[float, ...]


def rotate(images: Tensor, degrees: Tensor, interpolation: Interpolation, fill: Fill) -> Tensor:
    """Turn counter-clockwise about the middle."""
    y, x = _pixel_centres(images)
    middle_y, middle_x = images.shape[1] / 2, images.shape[2] / 2
    sine, cosine = (part[:, None, None] for part in (degrees.deg2rad().sin(), degrees.deg2rad().cos()))
    from_x = cosine * (x - middle_x) - sine * (y - middle_y) + middle_x
    from_y = sine * (x - middle_x) + cosine * (y - middle_y) + middle_y
    return sample(images, from_y, from_x, interpolation, fill)


def shear_x(images: Tensor, share: Tensor, interpolation: Interpolation, fill: Fill) -> Tensor:
    """Push each row to the left by `share` of its distance from the top."""
    y, x = _pixel_centres(images)
    return sample(images, y, x + share[:, None, None] * y, interpolation, fill)


def shear_y(images: Tensor, share: Tensor, interpolation: Interpolation, fill: Fill) -> Tensor:
    """Push each column up by `share` of its distance from the left."""
    y, x = _pixel_centres(images)
    return sample(images, y + share[:, None, None] * x, x, interpolation, fill)


def translate_x(images: Tensor, pixels: Tensor, interpolation: Interpolation, fill: Fill) -> Tensor:
    """Push the image to the left."""
    y, x = _pixel_centres(images)
    return sample(images, y, x + pixels[:, None, None], interpolation, fill)


def translate_y(images: Tensor, pixels: Tensor, interpolation: Interpolation, fill: Fill) -> Tensor:
    """Push the image up."""
    y, x = _pixel_centres(images)
    return sample(images, y + pixels[:, None, None], x, interpolation, fill)


def _pixel_centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """y `[1, height, 1]` and x `[1, 1, width]`."""
    height, width = images.shape[1:3]
    y = torch.arange(height, device=images.device)[None, :, None] + 0.5
    x = torch.arange(width, device=images.device)[None, None, :] + 0.5
    return y, x
