"""Training on a folder of one's own images, as they lie there: classes alone, images of all sizes, not many."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convmixer.tracking.runs import run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<class>/*.jpg` of two colours, 20 images each of 40 to 60 pixels."""
    tree, random = tmp_path_factory.mktemp("own") / "photos", np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (tree / name).mkdir(parents=True)
        for i in range(20):
            pixels = random.integers(0, 100, (*random.integers(40, 60, 2), 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(tree / name / f"{i}.jpg")
    return tree


SMALL = ("d_model=8", "n_layers=1", "epochs=1", "train_batch_size=8", "device=cpu")


def test_a_folder_of_photos_trains_as_it_is(photos: Path, here: Path, call: Callable) -> None:
    out = call(f"data.path={photos}", *SMALL).out
    assert "images of several sizes" in out and "all are brought to 48x48 (data.image_size=48)" in out
    assert "4 of its 40 images are kept for the test (data.test=0.1)" in out
    assert "4 of the 36 training images are held out for validation (data.validation=4)" in out
    assert "photos: 32 train, 4 valid, 4 test images of 48x48 in 2 classes" in out
    found = run("last")
    assert {"accuracy.valid", "accuracy.test"} <= found.summary.keys()


def test_other_images_are_brought_to_the_size_that_was_trained_on(photos: Path, here: Path, call: Callable) -> None:
    call(f"data.path={photos}", *SMALL)
    other = here / "photos"
    for name in ("red", "blue"):
        (other / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (100, 80), name).save(other / name / f"{i}.png")
    out = call("evaluate", "last", f"data.path={other}").out
    assert "photos" in out and "2 images" in out


def test_a_share_for_the_test_is_refused_where_there_is_a_test_split(tiny: Path, here: Path, refusal: Callable) -> None:
    said = refusal([f"data.path={tiny}", "data.test=0.2"])
    assert "data.test=0.2 is given, but tiny has test images of its own" in said
    assert "data.test" in refusal(["data.dataset=shapes", "data.test=0.2"])
