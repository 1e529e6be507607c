"""A small image tree of two classes, as a folder and as a zip, and how tests load it."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from convmixer.data.images import image_folder
from convmixer.data.splits import Dataset

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(path: Path, colour: str | tuple[int, ...] = RED, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    """Save an image of one colour, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, cats red and dogs blue: 2 + 1 images in train, 1 + 1 in test."""
    root = tmp_path / "pets"
    picture(root / "train/cat/1.png")
    picture(root / "train/cat/2.png")
    picture(root / "train/dog/1.png", BLUE)
    picture(root / "test/cat/1.png")
    picture(root / "test/dog/1.png", BLUE)
    return root


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    """Load a tree or zip with this test's own cache folder."""
    return lambda path, image_size=None: image_folder(path, image_size, tmp_path / "cache")


def zipped(tree: Path, path: Path, top: str = "") -> Path:
    """Write a tree's files into a zip, perhaps in a folder of it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(tree.rglob("*.*")):
            archive.write(file, top + str(file.relative_to(tree)))
    return path


def remove(path: Path) -> None:
    """Delete a folder of files."""
    for file in path.rglob("*.*"):
        file.unlink()
    for folder in sorted(path.rglob("*"), reverse=True):
        folder.rmdir()
    path.rmdir()
