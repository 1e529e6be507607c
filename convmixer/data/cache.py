"""Decoded data sets kept on disk, so that a second start reads one file instead of decoding 60,000.

A cache is a safetensors file `<name>-<fingerprint>.safetensors`. The fingerprint is of what it was made from, so a
changed source never finds it; a checksum over everything in it is verified at each reading. A cache is only ever a
convenience: one that is damaged is made again, and a folder that cannot be written to costs time, not the run.
"""

import hashlib
import json
import logging
import os
import time
import zlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from convmixer.data.splits import Dataset, Split

FORMAT = 1
HOUR = 3600.0

log = logging.getLogger("convmixer")


def fingerprint(*source: object) -> str:
    """A short name for what a data set is made from: listings, sizes, times, settings; anything JSON can say."""
    text = json.dumps([FORMAT, *source], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def load(folder: Path, name: str, fingerprint: str) -> Dataset | None:
    """The data set kept under this name and fingerprint; None, and said, when there is none that is whole."""
    path = _path(folder, name, fingerprint)
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
        log.warning("the cache %s is damaged and will be made again: %s", path, problem)
        return None


def save(folder: Path, fingerprint: str, source: str, dataset: Dataset) -> None:
    """Keep `dataset`, and drop what was kept of the same `source` in an earlier state."""
    path = _path(folder, dataset.name, fingerprint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, source, dataset)
        _tidy(path, source)
    except (OSError, SafetensorError) as problem:
        log.warning("no cache is kept, so the next start decodes again: %s", problem)


def _path(folder: Path, name: str, fingerprint: str) -> Path:
    return folder / f"{name[:100]}-{fingerprint}.safetensors"


def _read(path: Path) -> Dataset:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata["checksum"] != _checksum(tensors, metadata["about"]):
        raise ValueError("its checksum does not match")
    about = json.loads(metadata["about"])
    return Dataset(
        name=about["name"],
        classes=tuple(about["classes"]),
        train=Split(tensors["train.images"], tensors["train.labels"]),
        test=Split(tensors["test.images"], tensors["test.labels"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
    )


def _write(path: Path, source: str, dataset: Dataset) -> None:
    tensors = {
        "train.images": dataset.train.images,
        "train.labels": dataset.train.labels,
        "test.images": dataset.test.images,
        "test.labels": dataset.test.labels,
    }
    fields = ("name", "classes", "mean", "std")
    about = json.dumps({"source": source} | {field: getattr(dataset, field) for field in fields})
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, {"about": about, "checksum": _checksum(tensors, about)})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(tensors: dict[str, Tensor], about: str) -> str:
    checksum = zlib.crc32(about.encode())
    for key in sorted(tensors):
        checksum = zlib.crc32(tensors[key].numpy(), checksum)
    return f"{checksum:08x}"


def _tidy(path: Path, source: str) -> None:
    """Remove caches of an earlier state of `source`, and what a killed process left half-written."""
    for other in path.parent.glob("*.safetensors"):
        if other != path and _source(other) == source:
            log.info("%s has changed: its old cache %s is removed", source, other.name)
            other.unlink(missing_ok=True)
    for leftover in path.parent.glob("*.safetensors.*.tmp"):
        if time.time() - leftover.stat().st_mtime > HOUR:
            leftover.unlink(missing_ok=True)


def _source(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["about"])["source"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None  # not a cache of ours, or damaged: leave it alone
