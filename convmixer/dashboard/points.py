"""Reads the points of a growing `.jsonl` file, on from where it was read before."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from convmixer.dashboard.json_values import plain_text
from convmixer.dashboard.series import LARGEST, GrowingSeries, Series
from convmixer.errors import UserError
from convmixer.files.untrusted import open_ordinary

CHUNK = 2**20  # bytes that are read at a time; a longer line is none of ours
MOST_BYTES = 2**31  # of a file; the rest is not read
MOST_NONSENSE = 1000  # lines; a file with more is no record of points, and is not read on
MOST_SERIES = 500  # of a file; further ones are left out
LONGEST_NAME = 200  # characters of a series' name
LATEST_TIME = 4e9  # seconds since 1970, in the year 2096

# What a line that is none of ours raises.
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)

Point = tuple[str, float, float]  # name, step, value


def metric_points(line: dict[str, Any]) -> list[Point]:
    """Return the points of a line of `log.jsonl`, at the training images seen."""
    return [
        (name, float(step), float(values[0] if len(values) == 1 else sum(values) / len(values)))
        for name, points in line["track"].items()
        for step, values in points
    ]


def hardware_points(line: dict[str, Any]) -> list[Point]:
    """Return the points of a line of `hardware.jsonl`, at its time."""
    at = line_time(line)
    return [(name, at, float(value)) for name, value in line["track"].items() if abs(value) < LARGEST]


def line_time(line: dict[str, Any]) -> float:
    """Return when a line was recorded, in seconds since 1970.

    Raises:
        ValueError: that is no time; other exceptions of `NONSENSE` where there is none.
    """
    at = float(line["time"])
    if not 0 <= at < LATEST_TIME:
        raise ValueError(f"{at} is no time")
    return at


class PointsFile:
    """The points of one file, up to date after each `read`.

    Args:
        stopped: set when the process ends, so that reading a long file does not keep it.
    """

    def __init__(
        self, path: Path, points_of: Callable[[dict[str, Any]], list[Point]], stopped: Event | None = None
    ) -> None:
        self.series: dict[str, Series] = {}  # by name in alphabetical order; replaced while a long file is being read
        self._path = path
        self._points_of = points_of
        self._stopped = stopped or Event()
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._inode = 0
        self._nonsense = 0  # lines
        self._growing: dict[str, GrowingSeries] = {}

    def read(self) -> dict[str, Series]:
        """Read what was added to the file, and return each series."""
        try:
            with open_ordinary(self._path) as file:
                self._read_on(file)
        except (OSError, UserError):
            self._forget()
        self._publish()
        return self.series

    def _publish(self) -> None:
        self.series = {name: self._growing[name].points() for name in sorted(self._growing)}

    def _read_on(self, file: BinaryIO) -> None:
        inode, size = os.fstat(file.fileno()).st_ino, os.fstat(file.fileno()).st_size
        if inode != self._inode or size < self._offset:  # `resume` wrote it anew, up to its checkpoint
            self._forget()
            self._inode = inode
        while self._offset < MOST_BYTES and self._nonsense <= MOST_NONSENSE and not self._stopped.is_set():
            file.seek(self._offset)
            chunk = file.read(CHUNK)
            whole, newline, _ = chunk.rpartition(b"\n")
            if not newline:
                if len(chunk) == CHUNK:
                    self._nonsense = MOST_NONSENSE + 1  # a file of zeros, say, which may be endless
                return  # else the last line is not whole yet
            self._offset += len(whole) + 1
            self._add(whole.decode(errors="replace").split("\n"))
            self._publish()

    def _add(self, lines: list[str]) -> None:
        new: dict[str, tuple[list[float], list[float]]] = {}
        for line in lines:
            try:
                points = self._points_of(json.loads(line))
            except NONSENSE:
                self._nonsense += 1
                if self._nonsense > MOST_NONSENSE:
                    break
                continue
            for name, step, value in points:
                if -LARGEST < step < LARGEST:  # NaN is not
                    steps, values = new.get(name) or new.setdefault(name, ([], []))
                    steps.append(step)
                    values.append(value)
        for name, (steps, values) in new.items():
            name = plain_text(name[:LONGEST_NAME])
            if name in self._growing or len(self._growing) < MOST_SERIES:
                self._growing.setdefault(name, GrowingSeries()).extend(steps, values)
