"""Writes files completely or not at all: under another name, synced to the disk, then renamed."""

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from convmixer.errors import UserError

LONGEST_NAME = 255  # bytes: what ext4, XFS, APFS, NTFS and most others take
PAUSES = (0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.3)  # seconds
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
    """Open a file to write, which replaces `path` in one step at the end, even if the power fails.

    Args:
        options: options of `open`.

    Raises:
        OSError: the file can't be written; an old file at `path` is unchanged, and no other file is left behind.
    """
    if path.exists() and not path.is_file():  # such as /dev/null, which root could replace
        raise FileExistsError(errno.EEXIST, "is not an ordinary file", str(path))
    aside = aside_name(path)
    try:
        with open(aside, mode.replace("w", "x"), **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace(aside, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(aside)):  # a write that fails does not know
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def replace(aside: Path, path: Path) -> None:
    """Rename a file over another one in one step, as `os.replace`.

    On Windows that is refused while another process has the old file open, which those that look at runs have for
    moments: it is tried again for a second.
    """
    for pause in PAUSES if os.name == "nt" else ():
        try:
            os.replace(aside, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(aside, path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`, as `written_whole` does. Raises its OSError."""
    with written_whole(path, "wb") as file:
        file.write(content)


def clear_leftovers(*paths: Path) -> None:
    """Remove the half-written files that killed processes left beside `paths`. No other process may write to them."""
    for path in paths:
        for leftover in list(path.parent.iterdir()):
            if leftover.name.startswith(_beginning(path)):
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
