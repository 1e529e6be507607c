"""Decoded data sets kept on disk, so that a second start reads one file instead of decoding 60,000.

A cache is a file `<name>-<fingerprint>.safetensors` (see `cache_file`). The fingerprint is of what it was made from, so
a changed source never finds it; a checksum over everything in it is verified at each reading. A cache is only ever a
convenience: one that is damaged is made again, and a folder that cannot be written to costs time, not the run. But only
with one can a data set be larger than memory.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convmixer.data import cache_file
from convmixer.data.splits import Dataset, Split, channel_statistics, measured
from convmixer.files.atomic import cut

FORMAT = 1
HOUR = 3600.0
DAMAGES = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
)  # what a damaged file raises

Put = Callable[[int, NDArray[np.uint8]], None]  # takes some images, and the number of the first of them

NOT_KEPT = "no cache is kept, so the next start decodes again: %s"

log = logging.getLogger("convmixer")


def fingerprint(*source: object) -> str:
    """A short name for what a data set is made from: listings, sizes, times, settings; anything JSON can say."""
    text = json.dumps([FORMAT, *source], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def load(folder: Path, name: str, fingerprint: str) -> Dataset | None:
    """The data set kept under this name and fingerprint; None, and said, when there is none that is whole."""
    path = _path(folder, name, fingerprint)
    try:
        return cache_file.read(path)
    except FileNotFoundError:
        return None
    except DAMAGES as problem:
        log.warning("the cache %s is damaged and will be made again: %s", path, problem)
        return None


def save(folder: Path, fingerprint: str, source: str, dataset: Dataset) -> bool:
    """Keep `dataset`, and drop what was kept of the same `source` in an earlier state. False: it could not be kept."""
    labels = {"train": dataset.train.labels, "test": dataset.test.labels}
    shape = tuple(dataset.train.images.shape[1:])
    about = {"source": source, "name": dataset.name, "classes": dataset.classes}
    path = _path(folder, dataset.name, fingerprint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with cache_file.written(path, about, labels, shape) as draft:
            draft.put("train", 0, dataset.train.images.numpy())
            draft.put("test", 0, dataset.test.images.numpy())
            draft.finish(dataset.mean, dataset.std)
        _tidy(path, source)
    except OSError as problem:
        log.warning(NOT_KEPT, problem)
        return False
    return True


def decoded(
    folder: Path,
    fingerprint: str,
    about: Mapping[str, Any],
    labels: Mapping[str, Tensor],
    shape: tuple[int, int, int],
    decode: Callable[[str, Put], None],
) -> Dataset:
    """A data set that is decoded right into its cache, piece by piece: it need not fit into memory.

    Where no cache can be written, it is decoded into memory.

    Args:
        about: its `name`, its `classes`, its `source`, of which earlier states are dropped, and perhaps a `note`.
        labels: int64 `[n]` of `train`, `test` and perhaps `valid`.
        shape: height, width and channels of every image.
        decode: hands over all images of a split.
    """
    path = _path(folder, about["name"], fingerprint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with cache_file.written(path, about, labels, shape) as draft:
            for split in labels:
                decode(split, partial(draft.put, split))
            draft.finish(*channel_statistics(draft.images("train")))
        _tidy(path, about["source"])
        return cache_file.read(path)
    except DAMAGES as problem:
        log.warning(NOT_KEPT, problem)
    splits = {split: np.empty((len(labels[split]), *shape), np.uint8) for split in labels}
    for split, images in splits.items():
        decode(split, into(images))
    made = {split: Split(torch.from_numpy(images), labels[split]) for split, images in splits.items()}
    dataset = measured(about["name"], tuple(about["classes"]), made["train"], made["test"])
    return replace(dataset, valid=made.get("valid"), note=about.get("note"))


def into(images: NDArray[np.uint8]) -> Put:
    """Return a function that puts images into an array in memory."""

    def put(first: int, some: NDArray[np.uint8]) -> None:
        images[first : first + len(some)] = some

    return put


def _path(folder: Path, name: str, fingerprint: str) -> Path:
    return folder / f"{cut(name, 100)}-{fingerprint}.safetensors"


def _tidy(path: Path, source: str) -> None:
    """Remove caches of an earlier state of `source`, and what a killed process left half-written."""
    for other in path.parent.glob("*.safetensors"):
        if other != path and _source(other) == source:
            log.info("%s has changed: its old cache %s is removed", source, other.name)
            _remove(other)
    for leftover in path.parent.glob(".*.safetensors.*"):
        if time.time() - leftover.stat().st_mtime > HOUR:
            _remove(leftover)


def _remove(file: Path) -> None:
    with suppress(PermissionError):  # on Windows, while a run has it mapped
        file.unlink(missing_ok=True)


def _source(path: Path) -> str | None:
    try:
        return cache_file.read_source(path)
    except DAMAGES:
        return None  # not a cache of ours, or damaged: leave it alone
