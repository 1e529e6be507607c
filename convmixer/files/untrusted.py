"""Reads text files that may come from anyone: bounded in size, depth and number of parts, and no code is run.

Whatever is wrong with one is a `UserError` of one line. What is checked where: docs/untrusted-input.md.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from convmixer.errors import UserError

MAX_BYTES = 2**24  # of a file that is read as a whole and is no weights
DEEPEST = 50  # lists and mappings within each other
MOST_NODES = 200_000  # of a YAML file, aliases written out
LONGEST_NUMBER = 1000  # characters; the time to read one grows with the square of its length

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The whole of an ordinary file; what could keep a reader waiting for ever, as a FIFO does, is refused.

    Raises:
        UserError: there is none, it can't be read, or it has more than `limit` bytes.
    """
    try:
        with open_ordinary(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise UserError(f"{path}: has more than {limit:,} bytes")
            return file.read(size)
    except (OSError, MemoryError) as error:
        raise UserError(f"{path}: can't be read: {getattr(error, 'strerror', None) or 'out of memory'}") from error


def read_tail(path: Path, length: int) -> bytes:
    """Read the last `length` bytes of an ordinary file, however large it is.

    Raises:
        UserError: it is no ordinary file.
        OSError: there is none, or it can't be read.
    """
    with open_ordinary(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - length))
        return file.read(length)


def open_ordinary(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; a FIFO or a device is refused and not waited for.

    Raises:
        UserError: it is no ordinary file.
        OSError: there is none, or it can't be read.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: is no ordinary file")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_yaml(path: Path, loader: Any = SAFE_LOADER) -> Any:
    """What a YAML file holds.

    Raises:
        UserError: it can't be read, is not YAML, is nested deeply, or swells.
    """
    content = read_bytes(path)
    try:
        text = content.decode()
        _check_yaml(text)
        return yaml.load(text, Loader=loader)
    except Exception as error:  # yaml's constructors, given nonsense, raise whatever comes up
        raise UserError(f"{path}: not valid YAML: {_short(error)}") from None


def _check_yaml(text: str) -> None:
    """From its events, which come one by one: the parts that they make, aliases written out, are counted first."""
    parts = [0]  # of each collection that is open; the outermost is the file
    anchors: list[str | None] = []
    known: dict[str, int] = {}  # anchor -> parts
    for event in yaml.parse(text, Loader=SAFE_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            parts.append(1)
            anchors.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = parts.pop(), anchors.pop()
            parts[-1] += size
            known |= {anchor: size} if anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in known:
                raise ValueError(f"*{event.anchor} stands for nothing, or for what it is a part of")
            parts[-1] += known[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            parts[-1] += 1
            known |= {event.anchor: 1} if event.anchor else {}
            if len(event.value) > LONGEST_NUMBER and event.value[:1] in "+-.0123456789":
                raise ValueError(f"a number of {len(event.value):,} characters")
        if len(parts) > DEEPEST:
            raise ValueError("nested too deep")
        if parts[-1] > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} parts, aliases written out")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: it can't be read, is not JSON, or is nested deeply.
    """
    content = read_bytes(path)
    try:
        return parse_json(content)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {_short(error)}") from None


def parse_json(text: str | bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is none, or is nested deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return value
    raise ValueError("nested too deep")


def _inside(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict | list)]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
