"""Checkpoints that are whole or refused: written aside, fsynced, renamed; verified by checksum when read.

A checkpoint is an ordinary `torch.save` file (a zip archive). Its SHA-256 stands in the archive's comment, the one
place that follows everything else, so `torch.load` opens it as it is and one file is enough.

A run keeps three: `last`, `previous` (a `last` from before it) and `best`.
"""

import errno
import hashlib
import io
import os
import struct
from pathlib import Path
from typing import Any

import torch

from convmixer.errors import UserError
from convmixer.files.atomic import aside_name, write_atomically
from convmixer.files.pickles import NotPlain, load_plain
from convmixer.files.untrusted import read_bytes

FORMAT = 1
MOST_BYTES = 2**34
_COMMENT_LENGTH = struct.Struct("<H")  # the last field of a zip archive, 0 where there is no comment
_DIGEST_BYTES = 64  # SHA-256 in hexadecimal


class Damaged(UserError):
    """A checkpoint that is not there, or not as it was saved."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) to `path`; there is a whole file there at any moment.

    Raises:
        OSError: the disk is full or read-only; what was at `path` is still there.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    archive = buffer.getvalue()[: -_COMMENT_LENGTH.size]
    digest = hashlib.sha256(archive).hexdigest().encode()
    write_atomically(path, archive + _COMMENT_LENGTH.pack(len(digest)) + digest)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        Damaged: there is none, the disk can't read it, or it is not as it was saved.
        UserError: it may not be read, or is of a format this version does not know.
    """
    try:
        content = read_bytes(path, MOST_BYTES)
    except UserError as error:
        is_lost = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOENT, errno.EIO)
        raise (Damaged if is_lost else UserError)(str(error)) from None
    trailer = _COMMENT_LENGTH.size + _DIGEST_BYTES
    digest = hashlib.sha256(content[:-trailer]).hexdigest().encode()
    if content[-trailer:] != _COMMENT_LENGTH.pack(_DIGEST_BYTES) + digest:
        raise Damaged(f"{path}: the checkpoint is damaged (its SHA-256 does not match)")
    try:
        state = load_plain(content)
    except NotPlain:
        raise UserError(f"{path}: the checkpoint holds more than tensors and plain values, it is not read") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: the checkpoint holds no state of a training")
    if state.get("format") != FORMAT:
        raise UserError(f"{path}: checkpoint format {state.get('format')}, this version reads {FORMAT}")
    return state


def newest_good(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """What a run goes on from: `last`, or where that is damaged `previous`, which then becomes `last`.

    Args:
        folder: of the run's checkpoints.

    Returns:
        The state, None where no checkpoint was made yet; and a line that says so where it is not that of `last`.

    Raises:
        UserError: there are checkpoints, and none is good. Nothing was touched.
    """
    last, previous = folder / "last.pt", folder / "previous.pt"
    if not last.exists() and not previous.exists():
        return None, None
    try:
        return load(last), None
    except Damaged as problem:
        damage = str(problem)
    try:
        state = load(previous)
    except Damaged as problem:
        raise UserError(f"no checkpoint of this run is good: {damage}; {problem}; nothing was touched") from None
    keep(previous, last)
    return state, f"{damage}: going on from {previous.name}, of update {state['step']}"


def keep(path: Path, other: Path) -> None:
    """Have the file at `path` at `other` as well, without writing it again; both names have a whole file at any moment.

    On a file system that has no hard links it is only at `other` afterwards.

    Raises:
        OSError: the disk is full; both names are as they were.
    """
    aside = aside_name(other)
    try:
        os.link(path, aside)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.replace(path, other)
        return
    os.replace(aside, other)
    aside.unlink(missing_ok=True)  # still there where both were one file already
