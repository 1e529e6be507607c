"""Image trees, as a folder or as a .zip.

A tree is `train/<class>/*` and `test/<class>/*`, perhaps with a folder for validation, or `<class>/*` alone.
"""

from pathlib import Path

from convmixer.data.folder_trees import Folder
from convmixer.data.image_names import EXTENSIONS
from convmixer.data.zip_trees import Archive
from convmixer.errors import UserError


def open_tree(path: Path) -> Folder | Archive:
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
