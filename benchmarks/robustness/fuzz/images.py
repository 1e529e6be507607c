"""Images, archives of images and caches of data sets: spoilt, and read as the package reads them."""

import io
import json
import random
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.robustness.fuzz.spoiling import spoil_bytes, spoil_tree
from convmixer.data import cache as data_cache
from convmixer.data.images import image_folder, labelled_images
from convmixer.data.splits import Split, measured
from convmixer.errors import UserError


@cache
def pictures() -> dict[str, bytes]:
    """A small image of each kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    kinds = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}
    found = {}
    for ending, kind in kinds.items():
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
        Image.fromarray(pixels).save(buffer, kind, **options)
        found[ending] = buffer.getvalue()
    return found


def image(folder: Path, chance: random.Random) -> None:
    """An image file in a folder of labelled images."""
    ending = chance.choice(sorted(pictures()))
    path = folder / "images" / "cat" / f"1.{ending}"
    path.parent.mkdir(parents=True)
    other = chance.choice(sorted(pictures()))  # what a file is called says nothing
    path.write_bytes(spoil_bytes(pictures()[ending if chance.randrange(5) else other], chance))
    labelled_images(folder / "images", ("cat", "dog"), (8, 8, 3))


MEMBERS = (
    "../../canary",
    "/canary",
    "train/cat/../../../canary",
    "train/cat/a\0b.png",
    "train/cat/\x1b[31m.png",
    "train/",
)


def archive(folder: Path, chance: random.Random) -> None:
    """A .zip of an image tree."""
    buffer = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(buffer, "w", packing) as made:
        for split in ("train", "test"):
            for name in ("cat", "dog"):
                made.writestr(f"{split}/{name}/1.png", pictures()["png"])
        if chance.randrange(4) == 0:
            made.writestr(chance.choice(MEMBERS), bytes(chance.choice((0, 10, 2**21))))
    (folder / "tree.zip").write_bytes(spoil_bytes(buffer.getvalue(), chance))
    image_folder(folder / "tree.zip", 8, folder / "cache")


@cache
def _cached() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        images = torch.randint(0, 256, (6, 4, 4, 3), dtype=torch.uint8)
        split = Split(images, torch.tensor([0, 1, 0, 1, 0, 1]))
        data_cache.save(Path(folder), "one", "source", measured("pets", ("cat", "dog"), split, split))
        return (Path(folder) / "pets-one.safetensors").read_bytes()


def data_set_cache(folder: Path, chance: random.Random) -> None:
    """The cache of a decoded data set."""
    path = folder / "pets-one.safetensors"
    path.write_bytes(_cached())
    if chance.randrange(2):
        path.write_bytes(spoil_bytes(_cached(), chance))
    else:
        length = int.from_bytes(_cached()[:8], "little")
        header = json.dumps(spoil_tree(json.loads(_cached()[8 : 8 + length]), chance)).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + _cached()[8 + length :])
    found = data_cache.load(folder, "pets", "one")
    if found is None:
        raise UserError("it is made again")
    found.train.images.sum(), found.train.labels.sum()
