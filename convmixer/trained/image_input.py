"""Turns what users have, files, Pillow images, arrays and tensors, into the pixels that a network takes."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convmixer.data.image_files import check_channels, pixels_of, read_image, what_is_wrong
from convmixer.errors import UserError
from convmixer.files.untrusted import read_bytes

MAX_BYTES = 2**28  # of one file; what is larger is no photograph
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
EXPECTED = (
    "expected a path, a Pillow image, an array [height, width, 3], a tensor [3, height, width], or a list of them"
)

ImageInput = str | os.PathLike | bytes | Image.Image | NDArray | Tensor


def is_one_image(images: Any) -> bool:
    """Return True for one image, False for several: a list or a batch of them."""
    if hasattr(images, "ndim"):
        return images.ndim < 4
    return isinstance(images, str | os.PathLike | bytes | Image.Image) or not isinstance(images, Iterable)


def pixels(image: ImageInput, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return an image as uint8 `[height, width, channels]`.

    Args:
        image: a path or the bytes of an image file of any size and format; a Pillow image; an array or a tensor of
            uint8, or of floating-point numbers from 0 to 1, `[height, width]`, `[height, width, channels]` or
            `[channels, height, width]`, with 1, 3 or 4 channels.
        shape: height, width and channels to bring it to: the short side is scaled, the middle of the long one is kept.

    Raises:
        UserError: it is something else, or can't be read.
    """
    height, width, channels = shape
    check_channels(channels)
    name = os.fsdecode(image) if isinstance(image, str | os.PathLike) else "the image"
    if isinstance(image, str | os.PathLike):
        image = read_bytes(Path(image), MAX_BYTES)
    try:
        if isinstance(image, bytes):
            return read_image(image, (height, width), channels)
        return pixels_of(_as_pillow(image), (height, width), channels)
    except Exception as problem:  # a decoder given broken bytes may raise anything at all
        raise UserError(f"{name} {what_is_wrong(problem)}") from problem


def _as_pillow(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise UserError(f"{EXPECTED}, not a {type(image).__name__}")
    levels = _levels(image)
    if levels.ndim == 2:
        levels = levels[..., None]
    if levels.ndim == 3 and levels.shape[2] not in MODES and levels.shape[0] in MODES:
        levels = levels.transpose(1, 2, 0)
    if levels.ndim != 3 or levels.shape[2] not in MODES or 0 in levels.shape:
        raise UserError(f"its shape is {list(image.shape)}: {EXPECTED}")
    return Image.fromarray(np.ascontiguousarray(levels.squeeze(2) if levels.shape[2] == 1 else levels))


def _levels(image: NDArray) -> NDArray[np.uint8]:
    """Return numbers from 0 to 1, or levels, as levels from 0 to 255."""
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"its numbers are {image.dtype}: expected uint8, or floating-point numbers from 0 to 1")
    if not (image.min(initial=0) >= 0 and image.max(initial=0) <= 1):
        raise UserError("its numbers are not all from 0 to 1: expected pixels as they are, not normalised, or uint8")
    return np.rint(image * 255).astype(np.uint8)


def batch(images: Iterable[ImageInput], shape: tuple[int, int, int]) -> Tensor:
    """Return images, each as `pixels` makes it, as uint8 `[batch, height, width, channels]`."""
    return torch.from_numpy(np.stack([pixels(image, shape) for image in images]))
