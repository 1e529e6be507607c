"""Any tree of images, a folder or a .zip, as a data set: decoded once, in threads, and kept in a cache."""

import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convmixer.console import composed
from convmixer.data import cache
from convmixer.data.image_files import READER, Size, check_channels, read_image, ready_for_threads, what_is_wrong
from convmixer.data.splits import Dataset, Split
from convmixer.data.trees import EXTENSIONS, SPLITS, Archive, Folder, Listing, in_words, is_tree, open_tree
from convmixer.errors import UserError

CHUNK = 256  # images per task, at most: threads hand over seldom enough for it not to cost
CHUNK_BYTES = 2**24  # likewise; with a chunk for each core, what decoding takes in memory

log = logging.getLogger("convmixer")


def image_folder(path: Path, image_size: int | None, cache_folder: Path) -> Dataset:
    """The images under `path`: `train/<class>/*` and `test/<class>/*`, a folder or a .zip of one.

    Classes are the sorted folders of `train`; images lie directly in them, of the kinds in `trees.EXTENSIONS`. Hidden
    files are passed over. Every image becomes RGB as `read_image` does it.

    Args:
        image_size: every image is brought to this height and width: its short side is scaled, smoothly, and the middle
            of the long side is kept. None: all must have one size already.

    Raises:
        UserError: the tree is not as described, or an image cannot be read, is too large or of another size.
    """
    path = Path(os.path.abspath(path.expanduser()))
    tree = open_tree(path)
    listing = tree.listing()
    _say_passed_over(tree)
    _check(path, listing)
    name = path.name if isinstance(tree, Folder) else path.stem
    fingerprint = cache.fingerprint(READER, tree.stamp, listing, image_size)
    dataset = cache.load(cache_folder, name, fingerprint)
    if dataset is None:
        about = {"name": name, "classes": tuple(sorted(listing["train"])), "source": f"{path} at size {image_size}"}
        with ready_for_threads():
            dataset = _decode(tree, listing, image_size and (image_size, image_size), cache_folder, fingerprint, about)
    return dataset


def labelled_images(path: Path, classes: Sequence[str], shape: tuple[int, int, int]) -> Split:
    """Images to measure a network on: `<class>/*`, or the `test/<class>/*` of a tree; a folder or a .zip of one.

    Args:
        classes: those that the network knows, by label. There may be images of some of them only.
        shape: height, width and channels that the network takes; images of another size are brought to it.

    Raises:
        UserError: there are no such images, a class is unknown or empty, or an image cannot be read.
    """
    check_channels(shape[2])
    tree = open_tree(path)
    found = tree.labelled()
    _say_passed_over(tree)
    if not found:
        raise UserError(f"{path} holds no images: expected <class>/* or test/<class>/*")
    label = {composed(name): number for number, name in enumerate(classes)}
    for name, images in sorted(found.items()):
        if name not in label:
            nearest = get_close_matches(name, classes, n=1) or [", ".join(classes)]
            raise UserError(f"{path}: the network knows no class {name!r}, expected a folder named {nearest[0]}")
        if not images:
            raise _empty(f"{path}/{name}")
    names = [image for name in sorted(found) for image in found[name]]
    labels = [label[name] for name in sorted(found) for _ in found[name]]
    images = np.empty((len(names), *shape), np.uint8)
    with ready_for_threads():
        _decode_all(tree, names, shape[:2], shape, cache.into(images))
    return Split(torch.from_numpy(images), torch.tensor(labels))


def _say_passed_over(tree: Folder | Archive) -> None:
    if tree.passed_over:
        log.warning("%s: passed over %s", tree.path, in_words(tree.passed_over))


def _check(path: Path, listing: Listing) -> None:
    for split in SPLITS:
        if split not in listing:
            deeper = next(
                filter(is_tree, (p.parent for d in ("*", "*/*") for p in sorted(path.glob(f"{d}/train")))), None
            )
            hint = f"; {deeper} does" if deeper else ""
            raise UserError(f"{path} holds no {split}/: expected train/<class>/* and test/<class>/*{hint}")
    train, test = (set(listing[split]) for split in SPLITS)
    if len(train) < 2:
        raise UserError(f"{path}/train holds {len(train)} class folders: expected at least 2")
    if train != test:
        missing, place = (train - test, "test") if train - test else (test - train, "train")
        raise UserError(f"{path}: class {min(missing)!r} is missing from {place}/")
    for split in SPLITS:
        for name in sorted(train):
            if not listing[split][name]:
                raise _empty(f"{path}/{split}/{name}")


def _empty(folder: str) -> UserError:
    kinds = " ".join(kind[1:] for kind in EXTENSIONS)
    return UserError(f"{folder} is empty: expected images ({kinds})")


def _decode(
    tree: Folder | Archive,
    listing: Listing,
    size: Size | None,
    cache_folder: Path,
    fingerprint: str,
    about: dict[str, Any],
) -> Dataset:
    classes = about["classes"]
    names = {split: [f"{split}/{c}/{file}" for c in classes for file in sorted(listing[split][c])] for split in SPLITS}
    total = sum(map(len, names.values()))
    log.info("decoding the %s images of %s: only this once, unless they change", f"{total:,}", tree.path)
    shape = _read(tree, names["train"][0], size, 3).shape
    labels = {
        split: torch.arange(len(classes)).repeat_interleave(torch.tensor([len(listing[split][c]) for c in classes]))
        for split in SPLITS
    }

    def decode(split: str, put: cache.Put) -> None:
        _decode_all(tree, names[split], size, shape, put)

    return cache.decoded(cache_folder, fingerprint, about, labels, shape, decode)


def _decode_all(
    tree: Folder | Archive, names: list[str], size: Size | None, shape: tuple[int, int, int], put: cache.Put
) -> None:
    """Hand over uint8 `[len(names), *shape]`, in pieces. The first image in order that is wrong is the one named."""
    chunk = max(1, min(CHUNK, CHUNK_BYTES // math.prod(shape)))

    def decode(start: int) -> None:
        some = names[start : start + chunk]
        images = np.empty((len(some), *shape), np.uint8)
        for index, name in enumerate(some):
            image = _read(tree, name, size, shape[2])
            if image.shape != shape:
                raise UserError(
                    f"{tree.path}/{name} is {_pixels(image.shape)}, the first image {_pixels(shape)}: "
                    f"give them one size, e.g. data.image_size={min(shape[:2])}"
                )
            images[index] = image
        put(start, images)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, range(0, len(names), chunk)):
            pass


def _read(tree: Folder | Archive, name: str, size: Size | None, channels: int) -> NDArray[np.uint8]:
    try:
        return read_image(tree.read(name), size, channels)
    except Exception as problem:  # a decoder given broken bytes may raise anything at all
        raise UserError(f"{tree.path}/{name} {what_is_wrong(problem)}") from problem


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} pixels"
