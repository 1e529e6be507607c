"""Writes a run: metrics through labml's tracker to `log.jsonl`, lines to `console.log`, results to `summary.json`."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from labml import tracker
from labml.internal.tracker import tracker_singleton
from labml.internal.tracker.indicators import Indicator
from labml.internal.tracker.indicators.numeric import NumericIndicator
from labml.internal.tracker.writers import Writer

from convmixer.console import printable, say
from convmixer.errors import UserError
from convmixer.files.atomic import clear_leftovers, write_atomically
from convmixer.files.untrusted import parse_json
from convmixer.tracking.run_folder import CONFIGS, CONSOLE, CURVES, DIFF, FORMAT, FORMAT_FILE, INFO, LOCK, LOG, SUMMARY


class LineWriter(Writer):
    """labml's file format, a line for each save, handed to the system at once.

    labml's own file writer keeps points in memory for up to a minute, and a kill loses them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, *, global_step: int, indicators: dict[str, Indicator]) -> None:
        """One line for all values saved at this step."""
        points = {
            indicator.mean_key: [[global_step, np.asarray(indicator.get_all_values()).tolist()]]
            for indicator in indicators.values()
            if isinstance(indicator, NumericIndicator) and not indicator.is_empty()
        }
        line = (json.dumps({"track": points, "time": time.time()}) + "\n").encode()
        with open(self._path, "ab", buffering=0) as file:  # opened anew: another file may have taken its place
            written = file.write(line)
        if written < len(line):  # the system's way to say it before it refuses altogether
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))


def keep_log_up_to(path: Path, images: int) -> int:
    """Drop from a log what was recorded after `images` training images, and a line a kill cut short.

    Returns:
        How many lines were damaged otherwise; they are dropped too.
    """
    if not path.exists():
        return 0
    lines = path.read_bytes().split(b"\n")[:-1]
    steps = [_last_step(line) for line in lines]
    kept = [line + b"\n" for line, step in zip(lines, steps, strict=True) if step is not None and step <= images]
    write_atomically(path, b"".join(kept))
    return steps.count(None)


def _last_step(line: bytes) -> int | None:
    """Of a line of a log; None where it is none."""
    try:
        return max((step for points in parse_json(line)["track"].values() for step, _ in points), default=0)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class Recorder:
    """Records one run in its folder. Only one process at a time may hold a run.

    Raises:
        UserError: another process is at this run.
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
        clear_leftovers(*(folder / name for name in (INFO, CONFIGS, DIFF, LOG, SUMMARY, CURVES)))

    def start(self, images: int) -> None:
        """Begin, or go on after `images` training images: what was recorded later is dropped."""
        self.rewind(images)
        tracker_singleton().add_writer(LineWriter(self.folder / LOG))
        write_atomically(self.folder / FORMAT_FILE, f"{FORMAT}\n".encode())

    def rewind(self, images: int) -> None:
        """Drop what was recorded after `images` training images."""
        damaged = keep_log_up_to(self.folder / LOG, images)
        if damaged:
            self.say(f"{LOG}: {damaged} lines were damaged and are dropped")

    def metrics(self, images: int, values: dict[str, float]) -> None:
        """Values measured after `images` training images."""
        tracker.save(images, values)

    def say(self, line: str) -> None:
        """Keep a line in the run's console log, and print it."""
        with open(self.folder / CONSOLE, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        if not self.quiet:
            say(printable(line))

    def summary(self, values: dict[str, Any]) -> None:
        """What the run ended with."""
        content = json.dumps(values, indent=2) + "\n"
        write_atomically(self.folder / SUMMARY, content.encode())
