"""The file of a decoded data set, written and read piece by piece, so that it may be larger than memory.

It is a safetensors file of two tensors for each split, `<split>.images` and `<split>.labels`, whose metadata hold a
checksum over everything. The splits are `train`, `test` and, where a source has one of its own, `valid`. Images are not
read but mapped: the system brings a part of them to memory when it is looked at, and drops it when memory is short.
"""

import json
import mmap
import os
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convmixer.data.splits import Dataset, Split
from convmixer.files.atomic import aside_name, replace

PIECE = 2**22  # bytes in memory at once
LONGEST_HEADER = 2**26  # bytes
STATISTICS = 1024  # bytes at most for mean, deviation and checksum, which are known last
_NUMPY = {"U8": np.uint8, "I64": np.int64}  # safetensors' names


def read(path: Path) -> Dataset:
    """The data set in the file: labels in memory, images mapped. They must not be written to.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: there is none, or it is damaged.
    """
    with open(path, "rb") as file:
        header, start = _read_header(file)
        metadata = header.pop("__metadata__")
        if metadata["checksum"] != _checksum(file, metadata["about"], header, start):
            raise ValueError("its checksum does not match")
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    about = json.loads(metadata["about"])
    splits = {
        split: Split(
            _mapped(whole, header[f"{split}.images"], start), _mapped(whole, header[f"{split}.labels"], start).clone()
        )
        for split in ("train", "test", *(["valid"] if "valid.images" in header else []))
    }
    for split in splits.values():
        if len(split.images) != len(split.labels) or not 0 <= split.labels.min() <= split.labels.max() < len(
            about["classes"]
        ):
            raise ValueError("its labels are not those of its images")
    statistics = {"mean": tuple(about["mean"]), "std": tuple(about["std"])}
    return Dataset(about["name"], tuple(about["classes"]), **splits, **statistics, note=about.get("note"))


def read_source(path: Path) -> str:
    """Read the description of what the file was made from. Raises as `read`."""
    with open(path, "rb") as file:
        header, _ = _read_header(file)
    return json.loads(header["__metadata__"]["about"])["source"]


class Draft:
    """A file that is being filled, by several threads perhaps.

    Raises:
        OSError: it can't be written, or there is no room for all of it.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], labels: Mapping[str, Tensor], shape: tuple[int, ...]):
        self._about = dict(about)
        self._header = _layout(labels, shape)
        room = len(_header_bytes(self._header, self._about, "")) + STATISTICS
        self._start = 8 + -(-room // 8) * 8  # safetensors wants its tensors aligned
        self._file = open(path, "x+b", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._place = threading.Lock()  # Windows can't write at an offset without moving to it
        size = self._start + max(entry["data_offsets"][1] for entry in self._header.values())
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, size)  # a disk too small is found now, not in an hour
        for split in labels:
            self._write(self._offset(f"{split}.labels"), labels[split].numpy())

    def put(self, split: str, first: int, images: NDArray[np.uint8]) -> None:
        """Write images of a split, from number `first` on: `[n, height, width, channels]`."""
        image_bytes = images[0].nbytes
        self._write(self._offset(f"{split}.images") + first * image_bytes, images)

    def images(self, split: str) -> Tensor:
        """Return the images that were put, mapped from the file: uint8 `[n, height, width, channels]`."""
        whole = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return _mapped(whole, self._header[f"{split}.images"], self._start)

    def finish(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Write the header, without which it is no file that can be read, and have all of it on the disk."""
        about = self._about | {"mean": mean, "std": std}
        checksum = _checksum(self._file, json.dumps(about), self._header, self._start)
        self._write(0, _header_bytes(self._header, about, checksum, self._start - 8))
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _offset(self, name: str) -> int:
        return self._start + self._header[name]["data_offsets"][0]

    def _write(self, offset: int, content: NDArray | bytes) -> None:
        rest = memoryview(content).cast("B")
        with self._place:
            self._file.seek(offset)
            while rest:
                rest = rest[self._file.write(rest) :]


@contextmanager
def written(
    path: Path, about: Mapping[str, Any], labels: Mapping[str, Tensor], shape: tuple[int, ...]
) -> Iterator[Draft]:
    """A draft that becomes the file at `path` once it was finished, and is gone where it was not.

    Args:
        about: `source`, `name`, `classes`, perhaps `note`.
        labels: int64 `[n]` of each split.
        shape: height, width and channels of every image.

    Raises:
        OSError: it can't be written.
    """
    temporary = aside_name(path)
    try:
        draft = Draft(temporary, about, labels, shape)
        try:
            yield draft
        finally:
            draft.close()
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _layout(labels: Mapping[str, Tensor], shape: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """safetensors' header of the tensors, one after the other: those of 8 bytes a number first."""
    tensors = {f"{split}.labels": ("I64", [len(labels[split])]) for split in labels}
    tensors |= {f"{split}.images": ("U8", [len(labels[split]), *shape]) for split in labels}
    header, end = {}, 0
    for name, (kind, dimensions) in tensors.items():
        begin, end = end, end + int(np.prod(dimensions)) * _NUMPY[kind]().itemsize
        header[name] = {"dtype": kind, "shape": dimensions, "data_offsets": [begin, end]}
    return header


def _header_bytes(header: dict[str, Any], about: Mapping[str, Any], checksum: str, length: int = 0) -> bytes:
    """The header and, before it, its length; filled up with spaces to `length`."""
    metadata = {"about": json.dumps(about), "checksum": checksum}
    text = json.dumps({"__metadata__": metadata, **header}).encode().ljust(length)
    return len(text).to_bytes(8, "little") + text


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header, and where in the file the tensors begin."""
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= LONGEST_HEADER:
        raise ValueError("it has no header")
    return json.loads(file.read(length)), 8 + length


def _checksum(file: BinaryIO, about: str, header: Mapping[str, Any], start: int) -> str:
    checksum = zlib.crc32(about.encode())
    size = os.fstat(file.fileno()).st_size - start
    for name in sorted(header):
        begin, end = header[name]["data_offsets"]
        if not 0 <= begin <= end <= size:
            raise ValueError(f"{name} is not in it")
        file.seek(start + begin)
        for offset in range(begin, end, PIECE):
            checksum = zlib.crc32(file.read(min(PIECE, end - offset)), checksum)
    return f"{checksum:08x}"


def _mapped(whole: mmap.mmap, entry: Mapping[str, Any], start: int) -> Tensor:
    """A tensor that lies in the file."""
    begin, end = entry["data_offsets"]
    kind = np.dtype(_NUMPY[entry["dtype"]])
    array = np.frombuffer(whole, kind, (end - begin) // kind.itemsize, start + begin).reshape(entry["shape"])
    with warnings.catch_warnings(action="ignore"):  # torch warns that it must not be written to
        return torch.from_numpy(array)
