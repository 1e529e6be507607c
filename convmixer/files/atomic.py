"""Writes files completely or not at all: under another name, synced to the disk, then renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from convmixer.errors import UserError


@contextmanager
def written_whole(path: Path, mode: str = "w", **options: Any) -> Iterator[IO]:
    """Open a file to write, which replaces `path` in one step at the end, even if the power fails.

    Args:
        options: options of `open`.

    Raises:
        OSError: the file can't be written; an old file at `path` is unchanged, and no other file is left behind.
    """
    if path.exists() and not path.is_file():  # such as /dev/null, which root could replace
        raise FileExistsError(errno.EEXIST, "is not an ordinary file", str(path))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # which an error of write() lacks
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`, as `written_whole` does. Raises its OSError."""
    with written_whole(path, "wb") as file:
        file.write(content)


def clear_leftovers(*paths: Path) -> None:
    """Remove the half-written files that killed processes left beside `paths`. No other process may write to them."""
    for path in paths:
        for leftover in path.parent.glob(f".{path.name}.*"):
            leftover.unlink(missing_ok=True)


def check_output(path: Path, option: str) -> None:
    """Check before the work that a file can be written at `path`.

    Raises:
        UserError: it can't; the message names the command-line `option`.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{option} {path}: can't be written: no permission to write in {path.parent}")
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path}: is not an ordinary file")
