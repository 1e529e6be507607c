"""Checkpoints that are whole or refused: written aside, fsynced, renamed; verified by checksum when read.

A checkpoint is an ordinary `torch.save` file (a zip archive). Its SHA-256 stands in the archive's comment, the one
place that follows everything else, so `torch.load` opens it as it is and one file is enough.
"""

import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import torch

from convmixer.errors import UserError
from convmixer.plain_pickles import NotPlain, load_plain
from convmixer.untrusted import read_bytes
from convmixer.whole_files import write_atomically

FORMAT = 1
MOST_BYTES = 2**34
_COMMENT_LENGTH = struct.Struct("<H")  # the last field of a zip archive, 0 where there is no comment
_DIGEST_BYTES = 64  # SHA-256 in hexadecimal


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
        UserError: there is none, it is damaged, or of a format this version does not know.
    """
    content = read_bytes(path, MOST_BYTES)
    trailer = _COMMENT_LENGTH.size + _DIGEST_BYTES
    digest = hashlib.sha256(content[:-trailer]).hexdigest().encode()
    if content[-trailer:] != _COMMENT_LENGTH.pack(_DIGEST_BYTES) + digest:
        raise UserError(f"{path}: the checkpoint is damaged (its SHA-256 does not match)")
    try:
        state = load_plain(content)
    except NotPlain:
        raise UserError(f"{path}: the checkpoint holds more than tensors and plain values, it is not read") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: the checkpoint holds no state of a training")
    if state.get("format") != FORMAT:
        raise UserError(f"{path}: checkpoint format {state.get('format')}, this version reads {FORMAT}")
    return state
