"""WebDataset shards: .tar files in which `key.jpg` is an image and `key.cls`, `key.json` or `key.txt` its label.

https://github.com/webdataset/webdataset: files of one sample stand beside each other and share the name up to the first
dot. A label is a class's name or its number; names of numbers are in `classes.txt` beside the shards, one on each line.
"""

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from convmixer.console import one_line, shortened
from convmixer.data.image_names import EXTENSIONS
from convmixer.data.limits import MAX_MEMBER_BYTES
from convmixer.data.records import Records, state_of
from convmixer.errors import UserError
from convmixer.files.untrusted import as_utf8, open_ordinary, parse_json, read_bytes

LABEL_ENDINGS = ("cls", "json", "txt")  # of several the first is taken
JSON_NAMES = ("class_name", "label_name", "class", "label", "cls", "class_id", "target")
CLASS_FILES = ("classes.txt", "classnames.txt")
MAX_LABEL_BYTES = 2**20


@dataclass(frozen=True)
class Sample:
    """The place of an image in its shard, and its label: a name, or the number of a class."""

    key: str
    offset: int
    size: int
    label: str | int


class TarShards(Records):
    """Shards of one data set.

    Raises:
        UserError: a shard is damaged, or an image has no label.
    """

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        super().__init__(path, files)
        places = (self._root / name for name in CLASS_FILES)
        self._class_file = next((place for place in places if place.is_file()), None)
        if self._class_file:
            self.stamp.append([self._class_file.name, *state_of(self._class_file)])

    @cached_property
    def _samples(self) -> list[list[Sample]]:
        return [self._read_shard(file) for file in self.files]

    @cached_property
    def _opened(self) -> list[BinaryIO]:
        return [open_ordinary(file) for file in self.files]

    def _all_labels(self) -> list[list[str]]:
        names = self._class_names()
        return [[_class_name(sample, names, self.path) for sample in shard] for shard in self._samples]

    def _class_names(self) -> list[str] | None:
        if self._class_file is None:
            return None
        try:
            return as_utf8(read_bytes(self._class_file)).decode().split("\n")
        except ValueError as error:
            raise UserError(f"{self._class_file}: can't be read: {one_line(error)}") from None

    def _read_shard(self, file: Path) -> list[Sample]:
        images: dict[str, tarfile.TarInfo] = {}
        labels: dict[str, dict[str, bytes]] = {}
        try:
            with open_ordinary(file) as opened, tarfile.open(fileobj=opened, mode="r:") as archive:
                for member in archive:
                    if member.isfile():
                        self._take(member, archive, images, labels)
                _check_end(opened, archive.offset)
        except (UserError, OSError) as error:
            raise UserError(f"{file}: can't be used: {one_line(error)}") from None
        except Exception as error:  # tarfile, given broken bytes, may raise anything at all
            raise UserError(f"{file}: is not a sound .tar, or a compressed one: {one_line(error)}") from None
        lacking = [key for key in images if key not in labels]
        if lacking:
            n = len(lacking)
            raise UserError(
                f"{file}: {n:,} of {len(images):,} images have no .cls, .json or .txt, first {lacking[0]!r}"
            )
        return [Sample(key, m.offset_data, m.size, _label(labels[key], f"{file}: {key}")) for key, m in images.items()]

    def _take(
        self,
        member: tarfile.TarInfo,
        archive: tarfile.TarFile,
        images: dict[str, tarfile.TarInfo],
        labels: dict[str, dict[str, bytes]],
    ) -> None:
        folder, _, name = member.name.rpartition("/")
        key, _, ending = name.partition(".")
        key, ending = f"{folder}/{key}", ending.lower()
        if not name or name.startswith("."):
            return
        if f".{ending}".endswith(EXTENSIONS):
            if key in images:
                raise UserError(f"two images are called {shortened(key)!r}")
            _check_size(member, MAX_MEMBER_BYTES)
            images[key] = member
        elif ending in LABEL_ENDINGS:
            _check_size(member, MAX_LABEL_BYTES)
            labels.setdefault(key, {})[ending] = archive.extractfile(member).read()
        else:
            self.passed_over[f".{ending}" if ending else "no ending"] += 1

    def _image(self, number: int, row: int) -> bytes:
        sample = self._samples[number][row]
        content = _read_at(self._opened[number], sample.offset, sample.size)
        if len(content) != sample.size:
            raise UserError("the shard is cut off")
        return content

    def _shown_row(self, number: int, row: int) -> str:
        return self._samples[number][row].key.removeprefix("/")


def _read_at(file: Any, offset: int, size: int) -> bytes:
    if hasattr(os, "pread"):  # which threads may call at once
        return os.pread(file.fileno(), size, offset)
    with open(file.name, "rb") as own:
        own.seek(offset)
        return own.read(size)


def _check_size(member: tarfile.TarInfo, limit: int) -> None:
    if member.size > limit:
        raise UserError(f"{shortened(member.name)} has {member.size:,} bytes, refused above {limit:,}")


def _check_end(file: Any, end: int) -> None:
    """Check that a shard ends where its last member does: tarfile passes over the rest after a damaged header."""
    size = os.fstat(file.fileno()).st_size
    file.seek(min(end, size))
    if end > size or any(file.read(tarfile.BLOCKSIZE)):
        raise UserError("it is cut off, or damaged in its middle")


def _label(found: dict[str, bytes], where: str) -> str | int:
    ending = next(name for name in LABEL_ENDINGS if name in found)
    try:
        text = found[ending].decode().strip()
        value = _of_json(parse_json(text)) if ending == "json" else text
    except ValueError as error:
        raise UserError(f"{where}.{ending}: can't be read: {one_line(error)}") from None
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(f"{where}.{ending}: holds no label, expected a class's name or its number")
    return value


def _of_json(content: Any) -> Any:
    """Return the label in a .json: the first that is there of `JSON_NAMES`, names before numbers."""
    if not isinstance(content, dict):
        return content
    return next((content[name] for name in JSON_NAMES if content.get(name) is not None), None)


def _class_name(sample: Sample, names: list[str] | None, path: Path) -> str:
    if isinstance(sample.label, str) or names is None:
        return str(sample.label)
    if not 0 <= sample.label < len(names):
        raise UserError(
            f"{path}: {sample.key} has the label {sample.label}, but there are {len(names)} names of classes"
        )
    return names[sample.label].strip()
