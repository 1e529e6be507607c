"""Reads text files from untrusted sources: size, depth and number of parts are limited, and no code is run.

Anything wrong raises a `UserError` of one line. docs/untrusted-input.md lists all checks.
"""

import codecs
import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from convmixer.console import one_line
from convmixer.errors import UserError

MAX_BYTES = 2**24  # the largest file that is read, except for weights
DEEPEST = 50  # levels of nested lists and mappings
MOST_NODES = 200_000  # values in a YAML file, with each alias counted in full
LARGEST_NUMBER = 1e30  # of measured values
LONGEST_NUMBER = 1000  # characters; the time to read a number grows with the square of its length

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read an ordinary file. Other kinds, such as a FIFO that would keep the reader waiting, are refused.

    Raises:
        UserError: the file is missing, is not an ordinary file, can't be read, or has more than `limit` bytes.
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
        UserError: it is not an ordinary file.
        OSError: there is none, or it can't be read.
    """
    with open_ordinary(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - length))
        return file.read(length)


def open_ordinary(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; a FIFO or a device is refused and not waited for.

    Raises:
        UserError: it is not an ordinary file.
        OSError: there is none, or it can't be read.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: is not an ordinary file")
    return file


def as_utf8(content: bytes) -> bytes:
    """Take the byte order mark off a text file of UTF-8 or UTF-16, which PowerShell writes; the rest becomes UTF-8.

    Raises:
        ValueError: it is marked as UTF-16 and is none.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_yaml(path: Path, loader: Any = SAFE_LOADER) -> Any:
    """Read a YAML file and return its content.

    Raises:
        UserError: it can't be read, is not YAML, is nested too deep, or has too many parts.
    """
    content = read_bytes(path)
    try:
        text = as_utf8(content).decode()
        _check_yaml(text)
        return yaml.load(text, Loader=loader)
    except Exception as error:  # yaml's constructors raise many types for wrong input
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None


def _check_yaml(text: str) -> None:
    """Count the parts of a YAML text from its parser's events, with each alias in full, before they are built.

    Raises:
        ValueError: it has too many parts, is nested too deep, or has an unknown alias or a very long number.
    """
    parts = [0]  # number of parts of each open collection; the outermost is the file
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
                raise ValueError(f"*{event.anchor} refers to nothing, or to a collection that contains it")
            parts[-1] += known[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            parts[-1] += 1
            known |= {event.anchor: 1} if event.anchor else {}
            if len(event.value) > LONGEST_NUMBER and event.value[:1] in "+-.0123456789":
                raise ValueError(f"a number of {len(event.value):,} characters")
        if len(parts) > DEEPEST:
            raise ValueError("nested too deep")
        if parts[-1] > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} parts, with each alias counted in full")


def read_json(path: Path) -> Any:
    """Read a JSON file and return its content.

    Raises:
        UserError: it can't be read, is not JSON, or is nested too deep.
    """
    content = read_bytes(path)
    try:
        return parse_json(content)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {one_line(error)}") from None


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or is nested too deep.
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


def wrong_values(values: Any, types: Mapping[str, Any]) -> list[str]:
    """Return the names whose value is not what a reader of the file can use; what is missing, or None, is right.

    Args:
        values: as read; all names are wrong where it is no mapping.
        types: by name, as `isinstance` takes them. A number may be NaN, but not larger than `LARGEST_NUMBER`.
    """
    return [name for name, kind in types.items() if not isinstance(values, dict) or not _is_a(values.get(name), kind)]


def is_number(value: Any) -> bool:
    """Return True for a number that a float can hold; NaN and infinity are such, a whole number may be too large."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)


def without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that are not None: None says as little as a missing entry, which readers look for."""
    return {name: value for name, value in values.items() if value is not None}


def _is_a(value: Any, kind: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, kind) and not (isinstance(value, int | float) and abs(value) > LARGEST_NUMBER)
