"""Files that are whole or not there: written under another name, synced to the disk, renamed."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from convmixer.errors import UserError

LONGEST_NAME = 255  # bytes: what ext4, XFS, APFS, NTFS and most others take
_RANDOM_BYTES = 8


def aside_name(path: Path) -> Path:
    """A name beside `path` that nobody can foresee, for a file that is to be renamed to `path`.

    In a folder that others may write, a link could wait at a name that is known before. Open the file with mode `x`,
    which follows no link and takes no file that is there.
    """
    return path.with_name(_beginning(path) + secrets.token_hex(_RANDOM_BYTES))


def _beginning(path: Path) -> str:
    """The part of the name that says which file it is meant for; short enough for what follows."""
    room = LONGEST_NAME - len(".." + "ff" * _RANDOM_BYTES)
    return f".{cut(path.name, room)}."


def cut(name: str, longest: int = LONGEST_NAME) -> str:
    """The beginning of a name, of at most `longest` bytes."""
    return name if len(os.fsencode(name)) <= longest else os.fsencode(name)[:longest].decode(errors="ignore")


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
    aside = aside_name(path)
    try:
        with open(aside, mode.replace("w", "x"), **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(aside)):  # a write that fails does not know
            error.filename = str(path)
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
        for leftover in list(path.parent.iterdir()):
            if leftover.name.startswith(_beginning(path)):
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
