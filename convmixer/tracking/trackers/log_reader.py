"""Reads a run's log, and its file of histograms, while it grows."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from convmixer.errors import UserError
from convmixer.files.untrusted import open_ordinary
from convmixer.tracking.run_folder import LONGEST_LINE, log_line
from convmixer.tracking.trackers.tracker import HistogramLine, Line

Kind = TypeVar("Kind", Line, HistogramLine)


class LogReader(Generic[Kind]):
    """The lines of a log, each once; all again where the file was replaced, as by a run that goes back.

    Args:
        kind: makes of a step, a time and the values there what `read` returns.
        value: makes one of a point's values.
    """

    def __init__(self, path: Path, kind: type[Kind], value: Callable[[list[float]], Any]) -> None:
        self._path = path
        self._kind = kind
        self._value = value
        self._offset = 0
        self._inode = 0

    def restart(self) -> None:
        """Begin again with the first line."""
        self._offset = 0

    def read(self, most: int) -> list[Kind]:
        """Return the next lines, at most `most`; damaged ones are left out."""
        found: list[Kind] = []
        try:
            with open_ordinary(self._path) as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._inode or state.st_size < self._offset:
                    self._offset, self._inode = 0, state.st_ino
                file.seek(self._offset)
                while len(found) < most and (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
                    self._offset += len(line)
                    found.extend(self._lines(line))
        except FileNotFoundError:
            pass
        return found

    def _lines(self, text: bytes) -> Iterator[Kind]:
        """Yield a line's values, one `kind` for each step; nothing if it is damaged."""
        try:
            line = log_line(text, "")
            time = float(line["time"])
        except (UserError, KeyError, TypeError, ValueError):
            return
        by_step: dict[int, dict[str, Any]] = {}
        for name, points in line["track"].items():
            for step, values in points:
                by_step.setdefault(step, {})[name] = self._value(values)
        for step, values in by_step.items():
            yield self._kind(step, time, values)


def metrics_reader(path: Path) -> LogReader[Line]:
    """Return a reader of a log of metrics, which gives the mean of each point's values."""
    return LogReader(path, Line, lambda values: sum(values) / len(values))


def histograms_reader(path: Path) -> LogReader[HistogramLine]:
    """Return a reader of a file of histograms."""
    return LogReader(path, HistogramLine, list)
