"""Saves and loads checkpoints: written completely or not at all, and verified by a checksum when they are read.

A checkpoint is an ordinary `torch.save` file (a zip archive). Its SHA-256 is in the archive's comment, which comes
after everything else, so one file is enough, and `torch.load` can open it.

A run keeps three: `last`, `previous` (an older `last`) and `best`.
"""

import errno
import hashlib
import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from convmixer.errors import UserError
from convmixer.files.atomic import aside_name, replace, write_atomically
from convmixer.files.pickles import NotPlain, load_plain
from convmixer.files.untrusted import read_bytes

FORMAT = 1
MOST_BYTES = 2**34
_COMMENT_LENGTH = struct.Struct("<H")  # the last field of a zip archive, 0 where there is no comment
_DIGEST_BYTES = 64  # SHA-256 in hexadecimal


class Damaged(UserError):
    """The error for a checkpoint that is missing, or not as it was saved."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) to `path` in one step.

    Raises:
        OSError: the disk is full or read-only; an old file at `path` is unchanged.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    archive = buffer.getvalue()[: -_COMMENT_LENGTH.size]
    digest = hashlib.sha256(archive).hexdigest().encode()
    write_atomically(path, archive + _COMMENT_LENGTH.pack(len(digest)) + digest)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        Damaged: the file is missing, the disk can't read it, or it is not as it was saved.
        UserError: there is no permission to read it, or this version does not know its format.
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
        raise UserError(f"{path}: the checkpoint holds more than tensors and plain values: code is not read") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: the checkpoint does not hold the state of a training")
    if state.get("format") != FORMAT:
        raise UserError(f"{path}: the checkpoint has format {state.get('format')}, this version reads {FORMAT}")
    return state


def newest_good(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Load the checkpoint to resume from: `last`, or, if it is damaged, `previous`, which then becomes `last`.

    Args:
        folder: the folder of the run's checkpoints.

    Returns:
        The state, None if no checkpoint was saved yet; and a line to print if it is not that of `last`, else None.

    Raises:
        UserError: all checkpoints are damaged; they are not changed.
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
        raise UserError(f"all checkpoints of this run are damaged: {damage}; {problem}; nothing was changed") from None
    keep(previous, last)
    return state, f"{damage}: resuming from {previous.name}, of update {state['step']}"


def go_back(folder: Path, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """Make `previous` the run's `last`, if it is whole and wanted. Returns its state, or None: nothing was touched.

    Args:
        folder: of the run's checkpoints.
    """
    last, previous = folder / "last.pt", folder / "previous.pt"
    try:
        state = load(previous)
    except UserError:
        return None
    if not is_wanted(state):
        return None
    keep(previous, last)
    return state


def keep(path: Path, other: Path) -> None:
    """Make `other` a second name of the file at `path`, in one step and without copying it.

    On a file system without hard links the file is renamed to `other`.

    Raises:
        OSError: the disk is full; both names are unchanged.
    """
    aside = aside_name(other)
    try:
        os.link(path, aside)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        replace(path, other)
        return
    replace(aside, other)
    aside.unlink(missing_ok=True)  # still there if both were already the same file
