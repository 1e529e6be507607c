"""Image files as people have them: whatever the format, they come out upright and as they look on a screen."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from convmixer.data.image_files import MAX_PIXELS, read_image, what_is_wrong
from convmixer.errors import UserError


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def middle(data: bytes, channels: int = 3) -> list[int]:
    pixels = read_image(data, None, channels)
    return pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist()


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg2000"])
def test_sixteen_bits_become_eight(kind: str) -> None:
    grey = Image.fromarray(np.full((8, 8), 0x9C40, np.uint16))
    assert middle(encoded(grey, kind)) == [0x9C] * 3


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_what_is_transparent_becomes_white(kind: str) -> None:
    red = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    assert middle(encoded(red, kind, lossless=True)) == pytest.approx([255, 0, 0], abs=2)
    red.putalpha(0)
    assert middle(encoded(red, kind, lossless=True)) == [255, 255, 255]
    red.putalpha(128)
    assert middle(encoded(red, kind, lossless=True)) == pytest.approx([255, 127, 127], abs=2)


@pytest.mark.parametrize("size", [None, (4, 4)])
def test_transparency_of_grey_and_palette_images(size) -> None:
    grey = Image.new("LA", (8, 8), (0, 0))
    palette = Image.new("P", (8, 8), 3)
    for data in (encoded(grey, "png"), encoded(palette, "gif", transparency=3)):
        assert read_image(data, size)[2, 2].tolist() == [255, 255, 255]


def test_cmyk_photographs() -> None:
    """As printers' JPEGs are."""
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert middle(encoded(cyan, "jpeg")) == pytest.approx([0, 255, 255], abs=3)


def test_the_first_frame_of_several_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("gif", "webp", "tiff"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert middle(data) == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_exif_turns_every_kind(kind: str) -> None:
    """Taken with the camera on its side: the red edge is at the top of what was seen."""
    photo = Image.new("RGB", (48, 32), "white")
    photo.paste("red", (0, 0, 16, 32))
    tag = Image.Exif()
    tag[0x0112] = 6
    pixels = read_image(encoded(photo, kind, exif=tag), None)
    assert pixels.shape == (48, 32, 3)
    assert pixels[4, 16].tolist() == pytest.approx([255, 0, 0], abs=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_as_pillow_turns_it(orientation: int) -> None:
    photo = Image.effect_noise((12, 8), 80).convert("RGB")
    tag = Image.Exif()
    tag[0x0112] = orientation
    data = encoded(photo, "png", exif=tag)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(read_image(data, None), np.asarray(upright))


def test_photographs_with_an_odd_tag_are_turned_all_the_same(cases) -> None:
    """Viewers show them: a text where a number should be, a number that is negative."""
    for file in sorted((cases / "exif").iterdir()):
        assert read_image(file.read_bytes(), None).shape == (48, 32, 3), file.name


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30]
)
def test_exif_data_that_are_none_leave_an_image_as_stored(kind: str, exif: bytes) -> None:
    with warnings.catch_warnings(action="ignore"):
        assert read_image(encoded(Image.new("RGB", (48, 32)), kind, exif=exif), None).shape == (32, 48, 3)


def test_orientation_wherever_it_is_kept(cases) -> None:
    """ImageMagick's text chunk in a PNG, and XMP."""
    for file in sorted((cases / "orientation").iterdir()):
        assert read_image(file.read_bytes(), None).shape == (48, 32, 3), file.name


def test_depths_as_instruments_write_them(cases) -> None:
    """12 bits, 16 bits with white as 0, 16 bits of which one level is transparent, 16-bit PGM: all begin with white."""
    for file in sorted((cases / "depths").iterdir()):
        assert read_image(file.read_bytes(), None)[0, 0].tolist() == [255, 255, 255], file.name


@pytest.mark.parametrize("most", [1023, 4095, 65535])
def test_levels_of_a_pgm_are_of_its_largest(most: int) -> None:
    levels = np.array([0, most // 2, most], ">u2")
    pixels = read_image(b"P5 3 1 %d\n" % most + levels.tobytes(), None)
    assert pixels[0, :, 0].tolist() == [0, 127, 255]


def test_a_transparent_level_of_few_bits_or_many() -> None:
    """PNG says it in the file's own bits: 0 to 3 of 2 bits a pixel, 0 to 65,535 of 16."""
    few = png(depth=2, colour=0, transparent=b"\0\1", row=bytes([0b00_01_10_11]), width=4)
    assert read_image(few, None)[0, :, 0].tolist() == [0, 255, 170, 255]
    level, other = b"\x12\x34" * 3, b"\x80\x00" * 3
    many = png(depth=16, colour=2, transparent=level, row=level + other, width=2)
    assert read_image(many, None)[0, :, 0].tolist() == [255, 128]
    grey = png(depth=16, colour=0, transparent=b"\x12\x34", row=b"\x12\x34\x12\x35", width=2)
    assert read_image(grey, None)[0, :, 0].tolist() == [255, 0x12]


def png(depth: int, colour: int, transparent: bytes, row: bytes, width: int) -> bytes:
    """A PNG of one row."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    rest = chunk(b"tRNS", transparent) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + rest


def test_grey_for_a_network_that_takes_one_channel() -> None:
    red = Image.new("RGB", (8, 6), "red")
    assert read_image(encoded(red, "png"), (4, 4), 1).shape == (4, 4, 1)
    assert middle(encoded(red, "png"), 1) == [76]


def test_a_size_that_is_not_square() -> None:
    assert read_image(encoded(Image.new("RGB", (9, 20)), "png"), (6, 10)).shape == (6, 10, 3)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_thirty_two_bits_are_refused(mode: str) -> None:
    with pytest.raises(UserError, match="expected 8 or 16"):
        read_image(encoded(Image.new(mode, (8, 8)), "tiff"), None)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = encoded(Image.new("1", (16_384, MAX_PIXELS // 16_384 + 1)), "png")
    assert len(bomb) < 20_000
    with pytest.raises(UserError, match="pixels, more than"):
        read_image(bomb, None)


def test_every_cut_of_a_file_is_said_in_one_line() -> None:
    picture = Image.effect_noise((24, 24), 60)
    for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff"):
        whole = encoded(picture, kind)
        for length in range(0, len(whole) - 40, max(1, len(whole) // 25)):
            with pytest.raises(Exception) as problem:
                read_image(whole[:length], None)
            words = what_is_wrong(problem.value)
            assert words.startswith(("is not an image", "cannot be")) and "\n" not in words
