"""Image trees, as a folder or as a .zip: what is in them, read with care.

A tree is `train/<class>/*` and `test/<class>/*`, perhaps with a folder for validation, or `<class>/*` alone.

A tree may come from anywhere. Nothing is unpacked to disk and nothing outside of the tree is read.
"""

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from convmixer.console import composed, counted, printable
from convmixer.data.tree_splits import SPLITS, UNSPLIT, VALIDATION, Listing
from convmixer.errors import UserError
from convmixer.files.untrusted import read_bytes

EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ico", ".tga"),
)
OF_SYSTEMS = ("thumbs.db", "desktop.ini")  # which put them into every folder
MAX_MEMBER_BYTES = 64 * 2**20
MAX_COMPRESSION = 100
SMALL = 2**20  # below this many bytes any compression is harmless

KNOWN = (*SPLITS, *VALIDATION)


def open_tree(path: Path) -> "Folder | Archive":
    """The tree at `path`.

    Raises:
        UserError: there is nothing there, or it is neither a folder nor a zip.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise UserError(f"{path}: no such folder or .zip, and no such .parquet or .tar")
    return Archive(path)


def is_tree(path: Path) -> bool:
    """Tell if `path` looks like a tree: a .zip, or a folder with `train/`, or with images in folders of it."""
    path = path.expanduser()
    if path.is_file():
        return path.suffix.lower() == ".zip"
    try:
        return (path / "train").is_dir() or any(_holds_images(folder) for folder in path.iterdir() if folder.is_dir())
    except OSError:
        return False


def _holds_images(folder: Path) -> bool:
    return any(entry.name.lower().endswith(EXTENSIONS) and entry.is_file() for entry in folder.iterdir())


def _tree_below(path: Path) -> Path | None:
    """Return a folder in `path`, one or two levels down, that has splits."""
    places = (place.parent for depth in ("*", "*/*") for place in sorted(path.glob(f"{depth}/train")))
    return next((place for place in places if (place / "train").is_dir() and (place / "test").is_dir()), None)


def is_image(name: str, passed_over: Counter[str]) -> bool:
    """Tell if a file is an image by its name; the ending of one that is none is counted."""
    if name.lower().endswith(EXTENSIONS):
        return True
    if name.lower() not in OF_SYSTEMS:
        passed_over[PurePosixPath(name).suffix.lower() or "no ending"] += 1
    return False


def in_words(passed_over: Counter[str]) -> str:
    """The files that were passed over: `12 files without the ending of an image (.heic: 10, .txt: 2)`."""
    kinds = ", ".join(f"{printable(ending)}: {n:,}" for ending, n in passed_over.most_common(5))
    return f"{counted(passed_over.total(), 'file')} without the ending of an image ({kinds})"


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
    is_sequential = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.root = path.resolve()
        self.passed_over: Counter[str] = Counter()
        self._stored: dict[str, str] = {}  # folders of classes as they are on the disk

    def listing(self) -> Listing:
        """Every image, from one look at each folder.

        Raises:
            UserError: a link out of the tree, a folder inside a class, or a folder that cannot be read.
        """
        with _faults_named():
            folders = [entry for entry in self._entries(self.path) if entry.name in KNOWN and entry.is_dir()]
            splits = [folder for folder in folders if not self._is_class(folder)]
            if any(folder.name in SPLITS for folder in splits):
                return {split.name: self._classes(split, f"{split.name}/") for split in splits}
            below = _tree_below(self.path)
            if below:
                raise UserError(
                    f"{self.path} holds no train/: expected train/<class>/* and test/<class>/*; {below} does"
                )
            return {UNSPLIT: self._classes(self.path, "")}

    def labelled(self) -> dict[str, list[str]]:
        """The names, as `read` takes them, of each class's images: of `test/` where there is one, else of all.

        Raises:
            UserError: as `listing`.
        """
        with _faults_named():
            top = "test/" if self._holds_folders("test") else ""  # it may be a class of that name
            classes = self._classes(self.path / top, top)
        return {name: [f"{top}{name}/{file}" for file in sorted(files)] for name, files in classes.items()}

    def read(self, name: str) -> bytes:
        """The bytes of `<split>/<class>/<file>`."""
        folder, _, file = name.rpartition("/")
        return read_bytes(self.path / self._stored[folder] / file, MAX_MEMBER_BYTES)

    def shown(self, name: str) -> str:
        """Return an image's name for messages."""
        return f"{self.path}/{name}"

    def _is_class(self, folder: os.DirEntry[str]) -> bool:
        """Tell a class that is called `test` from a split: it holds images, and no folders."""
        inside = list(self._entries(folder))
        return any(e.name.lower().endswith(EXTENSIONS) for e in inside) and not any(e.is_dir() for e in inside)

    def _holds_folders(self, name: str) -> bool:
        return (self.path / name).is_dir() and any(entry.is_dir() for entry in self._entries(self.path / name))

    def _classes(self, folder: Path | os.DirEntry[str], before: str) -> dict[str, dict[str, tuple[int, ...]]]:
        classes = {}
        for entry in self._entries(folder):
            if not entry.is_dir():
                continue
            name = composed(entry.name)
            if name in classes:
                raise UserError(f"{entry.path}: there is another class of this name, spelt in other bytes")
            self._stored[f"{before}{name}"] = f"{before}{entry.name}"
            classes[name] = self._images(entry)
        return classes

    def _images(self, folder: os.DirEntry[str]) -> dict[str, tuple[int, ...]]:
        images = {}
        for entry in self._entries(folder):
            if entry.is_dir():
                raise _nested(entry.path)
            if is_image(entry.name, self.passed_over):
                status = os.stat(entry.path)  # on Windows the entry's own has no inode
                if not stat.S_ISREG(status.st_mode):
                    raise UserError(f"{entry.path} is not an ordinary file")
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
    """A .zip of a tree, perhaps inside folders of its own. Read in place, never unpacked."""

    is_sequential = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        if not path.is_file():
            raise UserError(f"{path} is neither a folder nor a .zip, .parquet or .tar")
        try:
            self.zip = zipfile.ZipFile(path)
        except Exception as problem:  # given broken bytes it may raise anything at all
            raise UserError(f"{path} is neither a folder nor a sound .zip: {problem}") from problem
        status = path.stat()
        self.stamp = (status.st_size, status.st_mtime_ns)
        self.top = ""
        self.passed_over: Counter[str] = Counter()
        self._members: dict[str, zipfile.ZipInfo] = {}

    def listing(self) -> Listing:
        """Every image, from the zip's directory; classes are listed even if empty.

        Raises:
            UserError: a member that is encrypted, walks out of the tree or is far larger than it looks, a folder inside
                a class, or several trees.
        """
        self._members = self._checked_members()
        self.top = self._top()
        listing: Listing = {}
        for name, info in self._members.items():
            if name.startswith(self.top):
                self._list(name.removeprefix(self.top), info, listing)
        is_split = any(listing.get(split) for split in SPLITS)  # else it is a class of that name
        return listing if is_split else {UNSPLIT: self._unsplit()}

    def labelled(self) -> dict[str, list[str]]:
        """The names, as `read` takes them, of each class's images: of `test/` where there is one, else of all.

        Raises:
            UserError: as `listing`, or class folders that are not side by side.
        """
        self._members = self._checked_members()
        self.top = ""
        return {name: sorted(images) for name, images in sorted(self._side_by_side().items())}

    def _unsplit(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """List the images of a tree without splits."""
        classes: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, images in self._side_by_side().items():
            self.top = "".join(f"{part}/" for part in PurePosixPath(images[0]).parts[:-2])
            infos = {PurePosixPath(image).name: self._members[image] for image in images}
            classes[name] = {image: (info.file_size, info.CRC) for image, info in infos.items()}
        return classes

    def _side_by_side(self) -> dict[str, list[str]]:
        """List the members that are images by class: of `test/` where there is one, else of all."""
        files = [name for name, info in self._members.items() if not info.is_dir()]
        paths = [PurePosixPath(name) for name in files if is_image(PurePosixPath(name).name, self.passed_over)]
        paths = [path for path in paths if path.parts[-3:-2] == ("test",)] or paths
        tops = {path.parent.parent for path in paths if len(path.parts) > 1}
        if len(tops) > 1:
            raise UserError(f"{self.path}: expected <class>/* or test/<class>/*, with all classes side by side")
        classes: dict[str, list[str]] = {}
        for path in sorted(path for path in paths if len(path.parts) > 1):
            classes.setdefault(path.parent.name, []).append(str(path))
        return classes

    def read(self, name: str) -> bytes:
        """The bytes of `<split>/<class>/<file>`, checked against the zip's own checksum."""
        return self.zip.read(self._members[self.top + name])

    def shown(self, name: str) -> str:
        """Return an image's name for messages."""
        return f"{self.path}/{name}"

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        """Check the members and return them by name, as `a/b/c`; PowerShell's zips have backslashes."""
        members: dict[str, zipfile.ZipInfo] = {}
        for info in self.zip.infolist():
            name = info.filename.replace("\\", "/")
            if _is_clutter(name):
                continue
            _refuse_hostile(self.path, info, name)
            name = composed(str(PurePosixPath(name)))
            if name in members and members[name].filename != info.filename:
                raise UserError(f"{self.path}: two members are {name!r}, spelt in other bytes")
            members[name] = info
        if sum(info.file_size for info in members.values()) > MAX_COMPRESSION * max(self.stamp[0], SMALL):
            raise UserError(f"{self.path}: its members swell over {MAX_COMPRESSION}-fold when unpacked: refused")
        return members

    def _top(self) -> str:
        """The folder that holds the splits: of the images in `<split>/<class>/`; else the one that all is in."""
        places = (PurePosixPath(name).parts for name in self._members if name.lower().endswith(EXTENSIONS))
        tops = sorted({"/".join(parts[:-3]) for parts in places if parts[-3:-2] and parts[-3] in SPLITS})
        if len(tops) > 1:
            shown = " and ".join(f"{top}/" if top else "its top" for top in tops[:3])
            raise UserError(f"{self.path}: holds several trees, in {shown}: expected one")
        top = tops[0] if tops else _single_top(self._members)
        return f"{top}/" if top else ""

    def _list(self, name: str, info: zipfile.ZipInfo, listing: Listing) -> None:
        split, *rest = name.split("/")
        if split not in KNOWN or not (rest or info.is_dir()):
            return
        classes = listing.setdefault(split, {})
        if not rest or (len(rest) == 1 and not info.is_dir()):  # the split itself, or a file beside the classes
            return
        images = classes.setdefault(rest[0], {})
        if len(rest) > 2:
            raise _nested(f"{self.path}: {info.filename}")
        if len(rest) == 2 and is_image(rest[1], self.passed_over):
            images[rest[1]] = (info.file_size, info.CRC)


def _is_clutter(name: str) -> bool:
    """Hidden files, and what a Mac adds to its zips."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") and part != ".." for part in parts)


def _single_top(names: Iterable[str]) -> str:
    tops = {name.split("/")[0] for name in names}
    return tops.pop() if len(tops) == 1 and not tops & set(SPLITS) else ""


def _refuse_hostile(path: Path, info: zipfile.ZipInfo, name: str) -> None:
    size = info.file_size
    if name.startswith("/") or ":" in name or ".." in name.split("/"):
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
