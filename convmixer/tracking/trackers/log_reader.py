"""Reads a run's log while it grows."""

import os
from collections.abc import Iterator
from pathlib import Path

from convmixer.errors import UserError
from convmixer.files.untrusted import open_ordinary
from convmixer.tracking.run_folder import LONGEST_LINE, log_line
from convmixer.tracking.trackers.tracker import Line


class LogReader:
    """The lines of a log, each once; all again where the file was replaced, as by a run that goes back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = 0

    def restart(self) -> None:
        """Begin again with the first line."""
        self._offset = 0

    def read(self, most: int) -> list[Line]:
        """Return the next lines, at most `most`; damaged ones are left out."""
        found: list[Line] = []
        try:
            with open_ordinary(self._path) as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._inode or state.st_size < self._offset:
                    self._offset, self._inode = 0, state.st_ino
                file.seek(self._offset)
                while len(found) < most and (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
                    self._offset += len(line)
                    found.extend(_lines(line))
        except FileNotFoundError:
            pass
        return found


def _lines(text: bytes) -> Iterator[Line]:
    """Yield a line's values, a `Line` for each step; nothing if it is damaged."""
    try:
        line = log_line(text, "")
        time = float(line["time"])
    except (UserError, KeyError, TypeError, ValueError):
        return
    by_step: dict[int, dict[str, float]] = {}
    for name, points in line["track"].items():
        for step, values in points:
            by_step.setdefault(step, {})[name] = sum(values) / len(values)
    for step, values in by_step.items():
        yield Line(step, time, values)
