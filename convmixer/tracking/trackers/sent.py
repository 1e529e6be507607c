"""Remembers in a run's folder what a tracker has of the run, so that nothing is sent twice."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from convmixer.files.atomic import write_atomically
from convmixer.files.untrusted import read_bytes
from convmixer.tracking.trackers.tracker import HistogramLine, Line


class Sent:
    """The lines of a run's log that a tracker has, and the end that it was told.

    A resumed run records lines again that were dropped. Those with the same values are not new. Values that are
    measured in time differ each time and are not compared.

    Args:
        path: the file that it is kept in.
        place: where the tracker keeps the run. What was sent to another place does not count.
    """

    def __init__(self, path: Path, place: str) -> None:
        self._path = path
        self._place = place
        self._lines: set[tuple[int, str]] = set()
        self._end = ""
        if path.exists():
            self._load()
        self.last_step = self._last_step()

    def __contains__(self, line: Line | HistogramLine) -> bool:
        return _key(line) in self._lines

    def add(self, lines: Iterable[Line | HistogramLine]) -> None:
        """Remember lines that the tracker has taken."""
        new = [_key(line) for line in lines]
        self._lines |= set(new)
        self.last_step = max([self.last_step, *(step for step, _ in new)])
        self._append(*(f"{step} {digest}" for step, digest in new))

    def add_end(self, end: str) -> None:
        """Remember that the tracker was told this end."""
        self._end = end
        self._append(f"end {end}")

    def has_end(self, end: str) -> bool:
        """Return True if the tracker knows this end."""
        return self._end == end

    def forget(self, step: int = -1) -> None:
        """Forget the lines from a step on, and the end."""
        self._lines = {key for key in self._lines if key[0] < step}
        self.last_step = self._last_step()
        self._end = ""
        lines = [self._head(), *(f"{known} {digest}" for known, digest in sorted(self._lines))]
        write_atomically(self._path, "".join(f"{line}\n" for line in lines).encode())

    def _last_step(self) -> int:
        return max((step for step, _ in self._lines), default=-1)

    def _head(self) -> str:
        return f"at {hashlib.sha256(self._place.encode()).hexdigest()[:16]}"  # a place may hold a password

    def _append(self, *lines: str) -> None:
        is_new = not self._path.exists()
        with open(self._path, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in ((self._head(), *lines) if is_new else lines))

    def _load(self) -> None:
        head, *lines = read_bytes(self._path).decode(errors="replace").split("\n")[:-1] or [""]
        if head != self._head():
            self.forget()
            return
        for line in lines:
            first, _, second = line.partition(" ")
            if first == "end":
                self._end = second
            elif first.isdecimal():
                self._lines.add((int(first), second))


def _key(line: Line | HistogramLine) -> tuple[int, str]:
    measured = sorted((name, value) for name, value in line.values.items() if not name.startswith("time."))
    return line.step, hashlib.sha256(json.dumps(measured).encode()).hexdigest()[:16]
