"""Image files as people have them: whatever the format, they come out upright and as they look on a screen."""

import io

import numpy as np
import pytest
from PIL import Image

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
