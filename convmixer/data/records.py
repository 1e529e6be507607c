"""Files that hold many labelled images each: what all kinds of them share.

Files may come from anyone. They are read in place; what they hold is never unpacked to disk.
"""

import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from convmixer.console import composed, shortened
from convmixer.data.tree_splits import UNSPLIT, Listing
from convmixer.errors import UserError

PATTERN = re.compile(r"[*?\[]")  # what marks a path as a pattern of several files
# The words in a file's name, or in a folder's around it, that say which split it is of.
SPLIT_WORDS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "valid": ("val", "valid", "validation", "dev"),
}
LONGEST_NAME = 200  # characters of a class


def find_files(path: Path, ending: str) -> list[Path]:
    """Return the files of an ending: that at `path`, those that a pattern names, or those in a folder, two levels deep.

    Raises:
        UserError: one in a folder is a link out of it.
    """
    if PATTERN.search(path.name) and not path.exists():
        return sorted(file for file in path.parent.glob(path.name) if file.name.endswith(ending))
    if not path.is_dir():
        return [path] if path.is_file() and path.name.lower().endswith(ending) else []
    found = sorted(file for depth in ("", "*/", "*/*/") for file in path.glob(f"{depth}*{ending}"))
    files = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    for file in files:
        if not Path(os.path.realpath(file)).is_relative_to(path.resolve()):
            raise UserError(
                f"{file} is a link out of {path}: not followed; name it yourself: data.path='{path}/*{ending}'"
            )
    return files


def name_of(path: Path) -> str:
    """Return the name of a data set: its folder's, or its file's without the ending."""
    if PATTERN.search(path.name) and not path.exists():
        return path.parent.name
    return path.stem if path.is_file() else path.name


class Records(ABC):
    """Files of labelled images. An image is called by the number of its file and its own number in it.

    Attributes:
        path: the folder or the file, as it was given.
        splits: the split that each file is of, by its name.
        passed_over: how many files in the files are no images, by their endings.
    """

    is_sequential = True

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path = path
        self.name = name_of(path)
        self.passed_over: Counter[str] = Counter()
        self.files = list(files)
        self._root = path if path.is_dir() else path.parent
        self.splits = [self._split(file) for file in files]
        self.stamp = [[self._shown_file(file), *state_of(file)] for file in files]

    def listing(self) -> Listing:
        """Return every image by split and class; the names of files say of which split they are.

        Raises:
            UserError: a file is damaged or has no labels, or some files name a split and others do not.
        """
        if UNSPLIT in self.splits and len(set(self.splits)) > 1:
            odd = self._shown_file(self.files[self.splits.index(UNSPLIT)])
            raise UserError(f"{self.path}: {odd} names no split, others do: expected train, test or val in its name")
        listing: Listing = {}
        for number, (split, labels) in enumerate(zip(self.splits, self._all_labels(), strict=True)):
            classes = listing.setdefault(split, {})
            for row, label in enumerate(labels):
                if len(label) > LONGEST_NAME or not label.strip():
                    raise UserError(f"{self.shown(_key(number, row))}: its class is {shortened(label)!r}")
                classes.setdefault(composed(label), {})[_key(number, row)] = ()
        return listing

    def labelled(self) -> dict[str, list[str]]:
        """Return the names of each class's images, as `read` takes them: of the test split, or all if there is none."""
        listing = self.listing()
        splits = [listing["test"]] if "test" in listing else listing.values()
        classes: dict[str, list[str]] = {}
        for split in splits:
            for name, images in split.items():
                classes.setdefault(name, []).extend(images)
        return classes

    def read(self, name: str) -> bytes:
        """Return the bytes of an image's file, by the end of its name."""
        return self._image(*_numbers(name))

    def shown(self, name: str) -> str:
        """Return an image's name for messages."""
        number, row = _numbers(name)
        return f"{self.path}: {self._shown_file(self.files[number])}, {self._shown_row(number, row)}"

    def _shown_file(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()

    def _split(self, file: Path) -> str:
        for part in reversed(Path(self._shown_file(file)).parts):
            words = re.split(r"[^a-z]+", part.lower())
            for split, names in SPLIT_WORDS.items():
                if any(name in words for name in names):
                    return split
        return UNSPLIT

    @abstractmethod
    def _all_labels(self) -> list[list[str]]:
        """Return the class of each image, for each file."""

    @abstractmethod
    def _image(self, number: int, row: int) -> bytes:
        """Return the bytes of an image's file."""

    @abstractmethod
    def _shown_row(self, number: int, row: int) -> str:
        """Return what an image is called within its file, for messages."""


def state_of(file: Path) -> tuple[int, ...]:
    """Return numbers that change when the file does, or is another."""
    status = os.stat(file)
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _key(number: int, row: int) -> str:
    """Return an image's name; names are in the order of files and images."""
    return f"{number:05}:{row:09}"


def _numbers(name: str) -> tuple[int, int]:
    number, _, row = name.rpartition("/")[2].partition(":")
    return int(number), int(row)
