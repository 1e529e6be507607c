"""Image trees that are folders: what is in them. Nothing outside of the tree is read."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convmixer.console import composed
from convmixer.data.image_names import EXTENSIONS, is_image
from convmixer.data.limits import MAX_MEMBER_BYTES
from convmixer.data.tree_splits import SPLIT_FOLDERS, SPLITS, UNSPLIT, Listing, nested
from convmixer.errors import UserError
from convmixer.files.untrusted import read_bytes


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
            folders = [entry for entry in self._entries(self.path) if entry.name in SPLIT_FOLDERS and entry.is_dir()]
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
                raise nested(entry.path)
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


def _tree_below(path: Path) -> Path | None:
    """Return a folder in `path`, one or two levels down, that has splits."""
    places = (place.parent for depth in ("*", "*/*") for place in sorted(path.glob(f"{depth}/train")))
    return next((place for place in places if (place / "train").is_dir() and (place / "test").is_dir()), None)


@contextmanager
def _faults_named() -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise UserError(f"{problem.filename} cannot be read: {problem.strerror}") from problem
