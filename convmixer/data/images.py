"""Any tree of images, a folder or a .zip, as a data set: decoded once, in threads, and kept in a cache."""

import io
import logging
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from convmixer.data import cache
from convmixer.data.splits import Dataset, Split, measured
from convmixer.data.trees import EXTENSIONS, SPLITS, Archive, Folder, Listing, open_tree
from convmixer.errors import UserError

MAX_PIXELS = 64_000_000
CHUNK = 256  # images per task: threads hand over seldom enough for it not to cost

log = logging.getLogger("convmixer")


def image_folder(path: Path, image_size: int | None, cache_folder: Path) -> Dataset:
    """The images under `path`: `train/<class>/*` and `test/<class>/*`, a folder or a .zip of one.

    Classes are the sorted folders of `train`; images lie directly in them, of the kinds in `trees.EXTENSIONS`. Hidden
    files are passed over. Grey, palette and transparent images become RGB, transparency being dropped.

    Args:
        image_size: every image is brought to this height and width: its short side is scaled, smoothly, and the middle
            of the long side is kept. None: all must have one size already.

    Raises:
        UserError: the tree is not as described, or an image cannot be read, is too large or of another size.
    """
    path = Path(os.path.abspath(path.expanduser()))
    tree = open_tree(path)
    listing = tree.listing()
    _check(path, listing)
    name = path.name if isinstance(tree, Folder) else path.stem
    fingerprint = cache.fingerprint(tree.stamp, listing, image_size)
    dataset = cache.load(cache_folder, name, fingerprint)
    if dataset is None:
        with warnings.catch_warnings():
            # Pillow warns of large images; those that are too large are an error here already.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            dataset = _decode(tree, name, listing, image_size)
        cache.save(cache_folder, fingerprint, f"{path} at size {image_size}", dataset)
    return dataset


def read_image(data: bytes, image_size: int | None) -> NDArray[np.uint8]:
    """Decode one image file: uint8 `[height, width, 3]`, turned upright, scaled as `image_folder` does.

    Raises:
        UserError: more than 64 megapixels, or more than 8 bits per channel.
        Exception: what the decoder of that format raises for a broken file.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
        if image.mode.startswith(("I", "F")):
            raise UserError("more than 8 bits per channel: expected an 8-bit image")
        if "exif" in image.info:
            image = ImageOps.exif_transpose(image)
        image = image.convert("RGB")
        if image_size is not None and image.size != (image_size, image_size):
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
        return np.asarray(image)


def _check(path: Path, listing: Listing) -> None:
    for split in SPLITS:
        if split not in listing:
            raise UserError(f"{path} holds no {split}/: expected train/<class>/* and test/<class>/*")
    train, test = (set(listing[split]) for split in SPLITS)
    if len(train) < 2:
        raise UserError(f"{path}/train holds {len(train)} class folders: expected at least 2")
    if train != test:
        missing, place = (train - test, "test") if train - test else (test - train, "train")
        raise UserError(f"{path}: class {min(missing)!r} is missing from {place}/")
    for split in SPLITS:
        for name in sorted(train):
            if not listing[split][name]:
                kinds = " ".join(kind[1:] for kind in EXTENSIONS)
                raise UserError(f"{path}/{split}/{name} is empty: expected images ({kinds})")


def _decode(tree: Folder | Archive, name: str, listing: Listing, image_size: int | None) -> Dataset:
    classes = tuple(sorted(listing["train"]))
    names = {split: [f"{split}/{c}/{file}" for c in classes for file in sorted(listing[split][c])] for split in SPLITS}
    total = sum(map(len, names.values()))
    log.info("decoding the %s images of %s: only this once, unless they change", f"{total:,}", tree.path)
    shape = _read(tree, names["train"][0], image_size).shape
    splits = []
    for split in SPLITS:
        images = _decode_all(tree, names[split], image_size, shape)
        counts = torch.tensor([len(listing[split][c]) for c in classes])
        labels = torch.arange(len(classes)).repeat_interleave(counts)
        splits.append(Split(torch.from_numpy(images), labels))
    return measured(name, classes, *splits)


def _decode_all(
    tree: Folder | Archive, names: list[str], image_size: int | None, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """uint8 `[len(names), *shape]`. The first image in order that is wrong is the one named."""
    images = np.empty((len(names), *shape), np.uint8)

    def decode(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(names))):
            image = _read(tree, names[index], image_size)
            if image.shape != shape:
                raise UserError(
                    f"{tree.path}/{names[index]} is {_pixels(image.shape)}, the first image {_pixels(shape)}: "
                    f"give them one size, e.g. data.image_size={min(shape[:2])}"
                )
            images[index] = image

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, range(0, len(names), CHUNK)):
            pass
    return images


def _read(tree: Folder | Archive, name: str, image_size: int | None) -> NDArray[np.uint8]:
    try:
        return read_image(tree.read(name), image_size)
    except UnidentifiedImageError as problem:
        raise UserError(f"{tree.path}/{name} is not an image") from problem
    except Exception as problem:  # a decoder given broken bytes may raise anything at all
        raise UserError(f"{tree.path}/{name} cannot be used: {problem}") from problem


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} pixels"
