"""Image trees that are zips: what is in them. They are read in place, never unpacked."""

import stat
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from convmixer.console import composed
from convmixer.data.image_names import EXTENSIONS, is_image
from convmixer.data.limits import MAX_COMPRESSION, MAX_MEMBER_BYTES, SMALL
from convmixer.data.tree_splits import SPLIT_FOLDERS, SPLITS, UNSPLIT, Listing, nested
from convmixer.errors import UserError


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
        if split not in SPLIT_FOLDERS or not (rest or info.is_dir()):
            return
        classes = listing.setdefault(split, {})
        if not rest or (len(rest) == 1 and not info.is_dir()):  # the split itself, or a file beside the classes
            return
        images = classes.setdefault(rest[0], {})
        if len(rest) > 2:
            raise nested(f"{self.path}: {info.filename}")
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
