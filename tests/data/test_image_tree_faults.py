"""Image trees with faults, and hostile ones: each is refused in one line that names what is wrong."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from pets import picture, remove, zipped
from PIL import Image

from convmixer.errors import UserError


def overwrite(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def thirty_two_bits(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(path, "tiff")


def oversized(path: Path) -> None:
    """A PNG of a few bytes that says it is 10,000 pixels wide and high."""
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 10_000, 10_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


FAULTS = {
    "no train": (lambda t: remove(t / "train"), r"pets holds no train/"),
    "one class": (lambda t: (remove(t / "train/cat"), remove(t / "test/cat")), r"1 class folder: expected at least 2"),
    "missing from test": (lambda t: remove(t / "test/dog"), r"test/ lacks the class 'dog'"),
    "extra in test": (lambda t: picture(t / "test/emu/1.png"), r"train/ lacks the class 'emu'"),
    "extra in valid": (lambda t: picture(t / "val/emu/1.png"), r"train/ lacks .*'emu'.*val/ lacks .*'cat', 'dog'"),
    "two for validation": (
        lambda t: (picture(t / "val/cat/1.png"), picture(t / "valid/cat/1.png")),
        r"holds val/ and valid/: expected one folder",
    ),
    "empty class": (lambda t: (t / "train/dog/1.png").unlink(), r"train/ holds no images of the class 'dog'"),
    "all at once": (
        lambda t: (picture(t / "train/emu/1.png"), remove(t / "test/cat"), picture(t / "test/yak/1.png")),
        r"train/ lacks the class 'yak'; test/ lacks the classes 'cat', 'emu'$",
    ),
    "an image without a test": (lambda t: remove(t / "test"), r"without test/, the class 'dog' would need 2 images"),
    "several broken": (
        lambda t: [(t / f"train/{n}.png").write_text("x") for n in ("cat/1", "cat/2", "dog/1")],
        r"3 images are wrong: train/cat/1\.png is not an image; train/cat/2\.png is.*; train/dog/1\.png is not",
    ),
    "folder in a class": (lambda t: picture(t / "train/cat/kittens/1.png"), r"train/cat/kittens.*: a folder inside"),
    "not an image": (lambda t: (t / "test/dog/1.png").write_text("hello"), r"test/dog/1\.png is not an image"),
    "empty image": (lambda t: (t / "test/dog/1.png").write_text(""), r"test/dog/1\.png is not an image"),
    "cut image": (lambda t: overwrite(t / "test/dog/1.png", 50), r"test/dog/1\.png cannot be used"),
    "too many pixels": (lambda t: oversized(t / "test/dog/1.png"), r"test/dog/1\.png.*10000x10000 pixels, more than"),
    "32 bits": (lambda t: thirty_two_bits(t / "test/dog/1.png"), r"test/dog/1\.png.*expected 8 or 16"),
}


def test_a_missing_tree_is_named(tree, load):
    with pytest.raises(UserError, match=r"pets/puppies: no such folder or \.zip"):
        load(tree / "puppies")


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(tree, load, tmp_path, fault, form):
    spoil, message = FAULTS[fault]
    spoil(tree)
    path = tree
    if form == "zip":
        path, message = zipped(tree, tmp_path / "pets.zip"), message.replace("pets", r"pets\.zip")
        if fault == "empty class":
            with zipfile.ZipFile(path, "a") as archive:
                archive.mkdir("train/dog")
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_zip_is_named(tmp_path, load):
    (tmp_path / "pets.zip").write_text("hello")
    with pytest.raises(UserError, match=r"pets\.zip is neither a folder nor a sound \.zip"):
        load(tmp_path / "pets.zip")


def test_a_link_out_of_the_tree_is_not_followed(tree, load, tmp_path):
    picture(tmp_path / "secret.png")
    (tree / "train/cat/3.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match=r"train/cat/3\.png is a link out of .*pets"):
        load(tree)


def test_a_link_within_the_tree_is_followed(tree, load):
    (tree / "train/cat/3.png").symlink_to(tree / "train/cat/1.png")
    assert load(tree).train.labels.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ["../train/cat/9.png", "/train/cat/9.png", "train/../../9.png", "C:/train/9.png"])
def test_zip_members_that_walk_out_are_refused(tree, load, tmp_path, name):
    path = zipped(tree, tmp_path / "pets.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"")
    with pytest.raises(UserError, match="points out of the archive: refused"):
        load(path)


@pytest.mark.parametrize(("zeros", "message"), [(65 * 2**20, "refused above 64 MiB"), (2 * 2**20, "swells")])
def test_zip_members_that_explode_are_refused(tree, load, tmp_path, zeros, message):
    path = zipped(tree, tmp_path / "pets.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/9.png", bytes(zeros))
    with pytest.raises(UserError, match=message):
        load(path)


def test_encrypted_zip_members_are_refused(tree, load, tmp_path):
    path = zipped(tree, tmp_path / "pets.zip")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")  # the directory's first member: set the flag an encrypting zip sets
    data[entry + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="is encrypted"):
        load(path)


def test_links_in_a_zip_are_refused(tree, load, tmp_path):
    path = zipped(tree, tmp_path / "pets.zip")
    link = zipfile.ZipInfo("train/cat/9.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="is a link: refused"):
        load(path)


def test_a_zip_damaged_inside_is_named(tree, load, tmp_path):
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.write(file, file.relative_to(tree))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 5] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"test/cat/1\.png cannot be used: Bad CRC-32"):
        load(path)
