"""`load(...).predict(image)`: whatever a user has, to classes and probabilities."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from PIL import Image

import convmixer
from convmixer import UserError, load
from convmixer.trained.network import AT_ONCE

trained = load(PROJECT / "weights" / "small-cifar10.safetensors")
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    with torch.inference_mode():
        row = trained.model(trained.normalise(torch.from_numpy(PIXELS[None]))).double().softmax(1)[0]
    order = row.argsort(descending=True)
    return {trained.classes[label]: row[label].item() for label in order.tolist()}


def forms(file: Path) -> dict[str, object]:
    Image.fromarray(PIXELS).save(file)
    channels_first = torch.from_numpy(PIXELS).permute(2, 0, 1)
    return {
        "path": file,
        "text": str(file),
        "bytes": file.read_bytes(),
        "Pillow": Image.fromarray(PIXELS),
        "array": PIXELS,
        "array from 0 to 1": PIXELS / 255,
        "tensor": channels_first,
        "tensor from 0 to 1": channels_first / 255,
        "tensor, channels last": torch.from_numpy(PIXELS),
    }


def test_every_form_of_an_image(tmp_path: Path, expected: dict[str, float]) -> None:
    for name, image in forms(tmp_path / "cat.png").items():
        found = trained.predict(image)
        assert found == pytest.approx(expected, abs=1e-6) and list(found) == list(expected), name
    assert sum(expected.values()) == pytest.approx(1)


def test_several_images_at_once(tmp_path: Path, expected: dict[str, float]) -> None:
    every = [*forms(tmp_path / "cat.png").values(), Image.new("L", (50, 20))]
    for images in (every, tuple(every), iter(every), np.stack([PIXELS] * (AT_ONCE + 2)), torch.zeros(2, 3, 64, 48)):
        count = len(images) if hasattr(images, "__len__") else len(every)
        found = trained.predict(images)
        assert len(found) == count and all(probabilities.keys() == expected.keys() for probabilities in found)
    assert trained.predict([]) == []


def test_grey_transparent_and_large_images_as_files_give(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "CMYK"):
        image = Image.effect_noise((90, 70), 80).convert("RGB").convert(mode)
        file = tmp_path / f"{mode}.{'tiff' if mode == 'CMYK' else 'png'}"
        image.save(file)
        assert trained.predict(image) == pytest.approx(trained.predict(file), abs=1e-6), mode


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("none.jpg", r"none\.jpg: can't be read: No such file"),
        (__file__, "is not an image"),
        (b"hello", "the image is not an image"),
        (5, "expected a path, a Pillow image.*not a int"),
        (np.zeros((2, 2, 5)), r"its shape is \[2, 2, 5\]"),
        (np.zeros((0, 4, 3)), r"its shape is \[0, 4, 3\]"),
        (np.full((4, 4, 3), 2.5), "not all from 0 to 1"),
        (np.full((4, 4, 3), np.nan), "not all from 0 to 1"),
        (torch.zeros(4, 4, 3, dtype=torch.int64), "its numbers are int64: expected uint8"),
        (["none.jpg", "other.jpg"], r"none\.jpg"),
    ],
)
def test_what_is_no_image_is_said_in_one_line(image: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        trained.predict(image)
    assert "\n" not in str(error.value)


def test_a_session_sees_the_public_names_alone() -> None:
    shown = {name for name in dir(convmixer) if not name.startswith("__")}
    assert shown >= set(convmixer.__all__) and "predict" in dir(trained)
    assert all(name in convmixer.__all__ or f"convmixer.{name}" in __import__("sys").modules for name in shown)


def test_a_diverged_network_says_nothing_about_an_image() -> None:
    diverged = load(PROJECT / "weights" / "small-cifar10.safetensors")
    with torch.no_grad():
        diverged.model.classification.linear.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="the outputs are not finite"):
        diverged.predict(PIXELS)
