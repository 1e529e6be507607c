"""Writes a run: metrics through labml's tracker to `log.jsonl`, lines to `console.log`, results to `summary.json`."""

import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from labml import tracker
from labml.internal.tracker import tracker_singleton
from labml.internal.tracker.indicators import Indicator
from labml.internal.tracker.indicators.numeric import NumericIndicator
from labml.internal.tracker.writers import Writer

from convmixer.console import counted, printable, say
from convmixer.errors import UserError
from convmixer.files.atomic import clear_leftovers, write_atomically, written_whole
from convmixer.files.untrusted import parse_json
from convmixer.tracking.run_folder import (
    CHANGES,
    CONFIGS,
    CONSOLE,
    CURVES,
    DIFF,
    FORMAT,
    FORMAT_FILE,
    HISTOGRAMS,
    INFO,
    LOCK,
    LOG,
    SCRIPT,
    START,
    SUMMARY,
    log_lines,
)

WRITTEN_WHOLE = (FORMAT_FILE, INFO, CONFIGS, DIFF, LOG, HISTOGRAMS, START, SCRIPT, SUMMARY, CURVES, CHANGES)
HISTOGRAMS_A_LINE = 500  # most; a line stays far below `LONGEST_LINE`


class LineWriter(Writer):
    """A writer of labml's file format that writes a line for each save at once.

    labml's own file writer keeps points in memory for up to a minute, and a kill loses them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, *, global_step: int, indicators: dict[str, Indicator]) -> None:
        """Write one line with all values saved at this step.

        Raises:
            OSError: the disk is full, or the file can't be written.
        """
        points = {
            indicator.mean_key: [[global_step, np.asarray(indicator.get_all_values()).tolist()]]
            for indicator in indicators.values()
            if isinstance(indicator, NumericIndicator) and not indicator.is_empty()
        }
        append_line(self._path, points)


def append_line(path: Path, points: Mapping[str, list[list[Any]]]) -> None:
    """Append one line to a log: for each name `[step, values]`.

    Raises:
        OSError: the disk is full, or the file can't be written.
    """
    line = (json.dumps({"track": points, "time": time.time()}) + "\n").encode()
    with open(path, "ab", buffering=0) as file:  # opened each time, as the file may have been replaced
        written = file.write(line)
    if written < len(line):  # the disk became full during the write
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def keep_log_up_to(path: Path, images: int) -> int:
    """Drop from a log all lines recorded after `images` training images, and an incomplete last line.

    Returns:
        The number of other damaged lines, which are dropped too.
    """
    if not path.exists():
        return 0
    damaged = 0
    with written_whole(path, "wb") as kept:
        for line in log_lines(path):
            step = _last_step(line)
            damaged += step is None
            if step is not None and step <= images:
                kept.write(line + b"\n")
    return damaged


def sound_bytes(path: Path, limit: int) -> int:
    """Count the bytes of a log's whole lines from its beginning to the first damaged one, or to `limit`."""
    count = 0
    for line in log_lines(path):
        if count >= limit or _last_step(line) is None:
            break
        count += len(line) + 1
    return count


def _last_step(line: bytes) -> int | None:
    """Return the last step of a line of a log; None if the line is damaged."""
    try:
        return max((step for points in parse_json(line)["track"].values() for step, _ in points), default=0)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class Recorder:
    """Records one run in its folder. Only one process at a time may record a run.

    Raises:
        UserError: another process is training this run, or the folder can't be written.
    """

    def __init__(self, folder: Path, quiet: bool = False) -> None:
        self.folder = folder
        self.quiet = quiet
        self._lock = FileLock(folder / LOCK)
        try:
            self._lock.acquire(timeout=2)
        except Timeout:
            raise UserError(f"{folder.name}: another process is training this run") from None
        except OSError as error:
            raise UserError(f"{folder}: can't be written: {error.strerror}") from None
        clear_leftovers(*(folder / name for name in WRITTEN_WHOLE))

    def start(self, images: int) -> None:
        """Begin to record, or resume after `images` training images: later records are dropped."""
        self.rewind(images)
        tracker_singleton().add_writer(LineWriter(self.folder / LOG))
        write_atomically(self.folder / FORMAT_FILE, f"{FORMAT}\n".encode())

    def known(self, values: dict[str, Any]) -> None:
        """Write what is known when the run starts."""
        write_atomically(self.folder / START, (json.dumps(values, indent=1) + "\n").encode())

    def rewind(self, images: int) -> None:
        """Drop all records after `images` training images."""
        for name in (LOG, HISTOGRAMS):
            damaged = keep_log_up_to(self.folder / name, images)
            if damaged:
                self.say(f"{name}: {counted(damaged, 'damaged line')} dropped")

    def sync(self) -> int:
        """Bring the log to the disk, for a checkpoint that is written next. Returns how many bytes it has.

        Without it, a power cut could leave a checkpoint whose log lacks what led to it.
        """
        files = [(self.folder / LOG, os.O_RDONLY | os.O_CREAT), (self.folder, os.O_RDONLY)]
        if (self.folder / HISTOGRAMS).exists():
            files.append((self.folder / HISTOGRAMS, os.O_RDONLY))
        for path, flags in files:
            descriptor = os.open(path, flags, 0o666)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return (self.folder / LOG).stat().st_size

    def metrics(self, images: int, values: dict[str, float]) -> None:
        """Record values measured after `images` training images."""
        tracker.save(images, values)

    def histograms(self, images: int, values: Mapping[str, list[float]]) -> None:
        """Record histograms measured after `images` training images, as `tracking.histograms` reads them."""
        names = list(values)
        for start in range(0, len(names), HISTOGRAMS_A_LINE):
            points = {name: [[images, values[name]]] for name in names[start : start + HISTOGRAMS_A_LINE]}
            append_line(self.folder / HISTOGRAMS, points)

    def say(self, line: str) -> None:
        """Write a line to the run's console log, and print it unless `quiet`."""
        with open(self.folder / CONSOLE, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")
        if not self.quiet:
            say(printable(line))

    def summary(self, values: dict[str, Any]) -> None:
        """Write the summary of the run, which marks it as ended."""
        self.sync()
        content = json.dumps(values, indent=2) + "\n"
        write_atomically(self.folder / SUMMARY, content.encode())
