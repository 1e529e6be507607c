"""One image file, of any format and size, to pixels: the same for training, evaluation and prediction."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from convmixer.errors import UserError

READER = 2  # of what `read_image` makes of a file: cached pixels of another one are not used
MAX_PIXELS = 64_000_000
# Pillow's names of what is decoded; others it knows, as EPS, start programs or have decoders that are hardly used.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA")
MODES = {1: "L", 3: "RGB"}  # Pillow's names, by number of channels

Size = tuple[int, int]  # height, width


def read_image(data: bytes, size: Size | None, channels: int = 3) -> NDArray[np.uint8]:
    """Decode one image file: uint8 `[height, width, channels]`, turned upright as its EXIF data says.

    Grey, palette and CMYK images become RGB, what is transparent becomes white, 16 bits become 8, and of several
    frames the first is taken.

    Args:
        size: height and width; the short side is scaled, smoothly, and the middle of the long side is kept.
        channels: 3, or 1 for grey.

    Raises:
        UserError: more than 64 megapixels, or more than 16 bits per channel.
        Exception: what the decoder of that format raises for a broken file.
    """
    with open_image(data) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
        if "exif" in image.info:
            image = ImageOps.exif_transpose(image)
        image = _eight_bits(image)
        is_transparent = "A" in image.getbands() or "transparency" in image.info
        image = image.convert("RGBA" if is_transparent else "RGB")
        if size is not None and image.size != size[::-1]:
            image = ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)
        if is_transparent:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert(MODES[channels])).reshape(image.height, image.width, channels)


def open_image(data: bytes) -> Image.Image:
    """An image of one of `FORMATS`, not decoded yet.

    Raises:
        Exception: what Pillow raises for anything else.
    """
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])


def check_channels(channels: int) -> None:
    """Raise UserError where image files have nothing to put into so many channels."""
    if channels not in MODES:
        raise UserError(f"the network takes {channels} channels, image files give 3, or 1 for grey")


@contextmanager
def ready_for_threads() -> Iterator[None]:
    """Within it threads may call `read_image`."""
    # Left to load its formats when first needed, Pillow tells all threads but one that they don't exist.
    Image.init()
    with warnings.catch_warnings():
        # It warns of what is an error of `read_image` already, or harmless: large images, damaged EXIF data.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise UserError("32 bits per channel: expected 8 or 16")
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def what_is_wrong(problem: Exception) -> str:
    """With a file that `read_image` could not read, in words that follow the file's name."""
    if isinstance(problem, UnidentifiedImageError):
        return "is not an image"
    if isinstance(problem, OSError) and problem.strerror:
        return f"cannot be read: {problem.strerror}"
    return f"cannot be used: {' '.join(str(problem).split()) or type(problem).__name__}"
