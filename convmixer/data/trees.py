"""Image trees, `train/<class>/*` and `test/<class>/*`, as a folder or as a .zip: what is in them, read with care.

A tree may come from anywhere. Nothing is unpacked to disk and nothing outside of the tree is read.
"""

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from convmixer.errors import UserError
from convmixer.files.untrusted import read_bytes

SPLITS = ("train", "test")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
MAX_MEMBER_BYTES = 64 * 2**20
MAX_COMPRESSION = 100
SMALL = 2**20  # below this many bytes any compression is harmless

# split -> class -> file name -> numbers that change when the file does, or is another
Listing = dict[str, dict[str, dict[str, tuple[int, ...]]]]


def open_tree(path: Path) -> "Folder | Archive":
    """The tree at `path`.

    Raises:
        UserError: there is nothing there, or it is neither a folder nor a zip.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise UserError(f"{path}: no such folder or .zip")
    return Archive(path)


def is_tree(path: Path) -> bool:
    """Whether `path` looks like a tree: a .zip, or a folder with one folder for each split."""
    path = path.expanduser()
    return path.suffix.lower() == ".zip" if path.is_file() else all((path / split).is_dir() for split in SPLITS)


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _nested(where: object) -> UserError:
    return UserError(f"{where}: a folder inside a class; expected its images directly in <class>/")


@contextmanager
def _faults_named() -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise UserError(f"{problem.filename} cannot be read: {problem.strerror}") from problem


class Folder:
    """A tree of folders. Hidden files, other files than images, and other folders than the splits are passed over."""

    stamp = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.resolve()

    def listing(self) -> Listing:
        """Every image, from one look at each folder.

        Raises:
            UserError: a link out of the tree, a folder inside a class, or a folder that cannot be read.
        """
        with _faults_named():
            splits = [s for s in self._entries(self.path) if s.name in SPLITS and s.is_dir()]
            return {split.name: self._classes(split) for split in splits}

    def labelled(self) -> dict[str, list[str]]:
        """The names, as `read` takes them, of each class's images: of `test/` where there is one, else of all.

        Raises:
            UserError: as `listing`.
        """
        with _faults_named():
            top = "test/" if (self.path / "test").is_dir() else ""
            classes = self._classes(self.path / top)
        return {name: [f"{top}{name}/{file}" for file in sorted(files)] for name, files in classes.items()}

    def read(self, name: str) -> bytes:
        """The bytes of `<split>/<class>/<file>`."""
        return read_bytes(self.path / name, MAX_MEMBER_BYTES)

    def _classes(self, folder: Path | os.DirEntry[str]) -> dict[str, dict[str, tuple[int, ...]]]:
        return {entry.name: self._images(entry) for entry in self._entries(folder) if entry.is_dir()}

    def _images(self, folder: os.DirEntry[str]) -> dict[str, tuple[int, ...]]:
        images = {}
        for entry in self._entries(folder):
            if entry.is_dir():
                raise _nested(entry.path)
            if _is_image(entry.name):
                status = os.stat(entry.path)  # on Windows the entry's own has no inode
                if not stat.S_ISREG(status.st_mode):
                    raise UserError(f"{entry.path} is no ordinary file")
                # Files of equal sizes and times can change places, as when labels are corrected: inodes go with them.
                images[entry.name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        return images

    def _entries(self, folder: Path | os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(self.root):
                    raise UserError(f"{entry.path} is a link out of {self.path}: not followed; copy it")
                yield entry


class Archive:
    """A .zip of a tree, perhaps inside one top folder. Read in place, never unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"{path} is neither a folder nor a .zip")
        try:
            self.zip = zipfile.ZipFile(path)
        except Exception as problem:  # given broken bytes it may raise anything at all
            raise UserError(f"{path} is neither a folder nor a sound .zip: {problem}") from problem
        status = path.stat()
        self.stamp = (status.st_size, status.st_mtime_ns)
        self.top = ""

    def listing(self) -> Listing:
        """Every image, from the zip's directory; classes are listed even if empty.

        Raises:
            UserError: a member that is encrypted, walks out of the tree or is far larger than it looks, or a folder
                inside a class.
        """
        members = self._members()
        self.top = _single_top([info.filename for info in members])
        listing: Listing = {}
        for info in members:
            self._list(info, listing)
        return listing

    def labelled(self) -> dict[str, list[str]]:
        """The names, as `read` takes them, of each class's images: of `test/` where there is one, else of all.

        Raises:
            UserError: as `listing`, or class folders that are not side by side.
        """
        paths = [PurePosixPath(info.filename) for info in self._members() if _is_image(info.filename)]
        paths = [path for path in paths if "test" in path.parts[:-2]] or paths
        tops = {path.parent.parent for path in paths if len(path.parts) > 1}
        if len(tops) > 1:
            raise UserError(f"{self.path}: expected <class>/* or test/<class>/*, with all classes side by side")
        classes: dict[str, list[str]] = {}
        for path in sorted(path for path in paths if len(path.parts) > 1):
            classes.setdefault(path.parent.name, []).append(str(path))
        return classes

    def read(self, name: str) -> bytes:
        """The bytes of `<split>/<class>/<file>`, checked against the zip's own checksum."""
        return self.zip.read(self.top + name)

    def _members(self) -> list[zipfile.ZipInfo]:
        members = [info for info in self.zip.infolist() if not _is_clutter(info.filename)]
        for info in members:
            _refuse_hostile(self.path, info)
        if sum(info.file_size for info in members) > MAX_COMPRESSION * max(self.stamp[0], SMALL):
            raise UserError(f"{self.path}: its members swell over {MAX_COMPRESSION}-fold when unpacked: refused")
        return members

    def _list(self, info: zipfile.ZipInfo, listing: Listing) -> None:
        split, *rest = info.filename.removeprefix(self.top).split("/")
        if split not in SPLITS or not rest:
            return
        classes = listing.setdefault(split, {})
        if len(rest) == 1:  # a file beside the classes, or the split itself ("train/")
            return
        images = classes.setdefault(rest[0], {})
        if len(rest) > 2:
            raise _nested(f"{self.path}: {info.filename}")
        if _is_image(rest[1]):
            images[rest[1]] = (info.file_size, info.CRC)


def _is_clutter(name: str) -> bool:
    """Hidden files, and what a Mac adds to its zips."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") and part != ".." for part in parts)


def _single_top(names: list[str]) -> str:
    tops = {name.split("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and not tops & set(SPLITS) else ""


def _refuse_hostile(path: Path, info: zipfile.ZipInfo) -> None:
    name, size = info.filename, info.file_size
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise UserError(f"{path}: member {name!r} points out of the archive: refused")
    if info.flag_bits & 1:
        raise UserError(f"{path}: member {name!r} is encrypted: expected a zip without a password")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UserError(f"{path}: member {name!r} is a link: refused; zip the image itself")
    if size > MAX_MEMBER_BYTES:
        limit = MAX_MEMBER_BYTES // 2**20
        raise UserError(f"{path}: member {name!r} claims {size:,} bytes: refused above {limit} MiB")
    if size > SMALL and size > MAX_COMPRESSION * info.compress_size:
        raise UserError(f"{path}: member {name!r} swells over {MAX_COMPRESSION}-fold when unpacked: refused")
