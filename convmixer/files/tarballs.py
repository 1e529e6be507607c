"""Reads members of a .tar.gz that may come from anyone: in one pass, bounded in size, nothing is unpacked to disk."""

import gzip
import tarfile
from collections.abc import Collection
from typing import BinaryIO


class Damaged(Exception):
    """The error if a file is damaged or of another kind; the message gives the reason."""


def members(file: BinaryIO, wanted: Collection[str], limit: int) -> dict[str, bytes]:
    """The contents of the members of these names, by name; only ordinary files count.

    Args:
        limit: bytes that may come of it when it is decompressed, up to the last member that is wanted.

    Raises:
        Damaged: it is no such archive, is cut off, has more bytes, or lacks a member.
    """
    found: dict[str, bytes] = {}
    try:
        with (
            gzip.open(file) as content,
            tarfile.open(fileobj=_Bounded(content, limit), mode="r|", bufsize=2**16) as archive,
        ):
            for member in archive:
                if member.name in wanted and member.isfile():
                    found[member.name] = archive.extractfile(member).read()
                if len(found) == len(wanted):
                    return found
    except Exception as problem:  # tarfile, given broken bytes, may raise anything at all
        raise Damaged(" ".join(str(problem).split())[:200] or type(problem).__name__) from None
    raise Damaged(f"it lacks {min(set(wanted) - found.keys())}")


class _Bounded:
    """A file that ends in an error after so many bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise ValueError("it swells when it is decompressed")
        return piece
