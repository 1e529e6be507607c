"""Files that are whole or not there: written under another name, synced to the disk, renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from convmixer.errors import UserError


@contextmanager
def written_whole(path: Path, mode: str = "w", **options: Any) -> Iterator[IO]:
    """A file to write to, which replaces what is at `path` in one step that survives a kill or a power cut.

    Args:
        options: as `open` takes them.

    Raises:
        OSError: it can't be written; what was at `path` is still there, and nothing else is left behind.
    """
    if path.exists() and not path.is_file():  # /dev/null, say, which root could replace
        raise FileExistsError(errno.EEXIST, "is no ordinary file", str(path))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that fails does not know
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`, as `written_whole` does."""
    with written_whole(path, "wb") as file:
        file.write(content)


def clear_leftovers(*paths: Path) -> None:
    """Remove what killed processes left half-written of these files, to which no other process writes now."""
    for path in paths:
        for leftover in path.parent.glob(f".{path.name}.*"):
            leftover.unlink(missing_ok=True)


def check_output(path: Path, option: str) -> None:
    """Find out before the work whether a file can be put at `path`.

    Raises:
        UserError: it can't.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{option} {path}: can't be written: {path.parent} may not be written to")
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path}: is no ordinary file, expected the name of one")
