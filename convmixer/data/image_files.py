"""One image file, of any format and size, to pixels: the same for training, evaluation and prediction."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from convmixer.errors import UserError

READER = 3  # of what `read_image` makes of a file: cached pixels of another one are not used
MAX_PIXELS = 64_000_000
# Pillow's names of what is decoded; others it knows, as EPS, start programs or have decoders that are hardly used.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA")
MODES = {1: "L", 3: "RGB"}  # Pillow's names, by number of channels
ORIENTATION = 0x0112  # EXIF's tag, and its values: what turns an image upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, WHITE_IS_ZERO = 258, (262, 0)  # TIFF's tags, of the second also the value

Size = tuple[int, int]  # height, width


def read_image(data: bytes, size: Size | None, channels: int = 3) -> NDArray[np.uint8]:
    """Decode one image file: uint8 `[height, width, channels]`, turned upright as its EXIF or XMP data says.

    Grey, palette and CMYK images become RGB, what is transparent becomes white, 12 and 16 bits become 8, and of several
    frames the first is taken.

    Args:
        size: height and width; the short side is scaled, smoothly, and the middle of the long side is kept.
        channels: 3, or 1 for grey.

    Raises:
        UserError: more than 64 megapixels, or more than 16 bits per channel.
        Exception: what the decoder of that format raises for a broken file.
    """
    with open_image(data) as image:
        return pixels_of(image, size, channels, depth=data[24] if image.format == "PNG" else 8)


def pixels_of(image: Image.Image, size: Size | None, channels: int = 3, depth: int = 8) -> NDArray[np.uint8]:
    """Return the pixels of an image that Pillow has opened, as `read_image` does; depth: bits per sample of a PNG."""
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
    image.load()  # which turns a TIFF upright
    turn = TURNS.get(_orientation(image))
    image = _eight_bits(image, depth)
    is_transparent = "A" in image.getbands() or "transparency" in image.info
    image = image.convert("RGBA" if is_transparent else "RGB")
    image = image if turn is None else image.transpose(turn)
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


def image_size(data: bytes) -> tuple[int, int]:
    """Return width and height of an image as it is stored, which is read from its beginning.

    Raises:
        Exception: what Pillow raises for what is no image.
    """
    with open_image(data) as image:
        return image.size


def check_channels(channels: int) -> None:
    """Raise UserError where image files have nothing to put into so many channels."""
    if channels not in MODES:
        raise UserError(f"the network takes {channels} channels, image files give 3, or 1 for grey")


@contextmanager
def ready_for_threads() -> Iterator[None]:
    """Make Pillow ready for threads, which may call `read_image` within this context."""
    # Left to load its formats when first needed, Pillow tells all threads but one that they don't exist.
    Image.init()
    with warnings.catch_warnings():
        # It warns of what is an error of `read_image` already, or harmless: large images, damaged EXIF data.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _orientation(image: Image.Image) -> int:
    """Return the orientation, a key of `TURNS`, from EXIF data or XMP; 1, as stored, if neither can be read."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # what cameras and editors write there is often wrong, and viewers don't mind
        return 1
    return orientation if isinstance(orientation, int) else 1


def _eight_bits(image: Image.Image, depth: int) -> Image.Image:
    """Bring an image to at most 8 bits a channel, and with it the level that its file marks as transparent."""
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format == "PPM"):
        if image.mode in ("I", "F"):
            raise UserError("signed, or 32 bits per channel: expected 8 or 16")
        if depth != 8 and "transparency" in image.info and image.mode != "P":
            image.info["transparency"] = _level_of_eight_bits(image.info["transparency"], depth)
        return image
    levels = np.asarray(image).astype(np.uint16)
    bits = 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0]
        if image.tag_v2.get(WHITE_IS_ZERO[0]) == WHITE_IS_ZERO[1]:
            levels = 2**bits - 1 - levels
    grey = Image.fromarray((levels >> bits - 8).astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _level_of_eight_bits(level: int | tuple[int, ...], depth: int) -> int | tuple[int, ...]:
    if isinstance(level, tuple):
        return tuple(_level_of_eight_bits(channel, depth) for channel in level)
    return level >> 8 if depth == 16 else level * 255 // (2**depth - 1)


def what_is_wrong(problem: Exception) -> str:
    """Say what is wrong with a file that `read_image` could not read, in words that follow the file's name."""
    if isinstance(problem, UnidentifiedImageError):
        return "is not an image"
    if isinstance(problem, OSError) and problem.strerror:
        return f"cannot be read: {problem.strerror}"
    return f"cannot be used: {' '.join(str(problem).split()) or type(problem).__name__}"
