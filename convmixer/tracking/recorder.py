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

from convmixer.errors import UserError
from convmixer.printable import printable
from convmixer.tracking.run_folder import CONSOLE, FORMAT, FORMAT_FILE, LOCK, LOG, SUMMARY, read_log
from convmixer.whole_files import write_atomically


class LineWriter(Writer):
    """labml's file format, a line for each save, handed to the system at once.

    labml's own file writer keeps points in memory for up to a minute, and a kill loses them.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, *, global_step: int, indicators: dict[str, Indicator]) -> None:
        """One line for all values saved at this step."""
        points = {
            indicator.mean_key: [[global_step, np.asarray(indicator.get_all_values()).tolist()]]
            for indicator in indicators.values()
            if isinstance(indicator, NumericIndicator) and not indicator.is_empty()
        }
        line = (json.dumps({"track": points, "time": time.time()}) + "\n").encode()
        if os.write(self._file, line) < len(line):  # the system's way to say it before it refuses altogether
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), LOG)


def keep_log_up_to(path: Path, images: int) -> None:
    """Drop from a log what was recorded after `images` training images, and a line a kill cut short."""
    if not path.exists():
        return
    kept = [line for line in read_log(path) if _last_step(line) <= images]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _last_step(line: dict[str, Any]) -> int:
    return max((step for points in line["track"].values() for step, _ in points), default=0)


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

    def start(self, images: int) -> None:
        """Begin, or go on after `images` training images: what was recorded later is dropped."""
        keep_log_up_to(self.folder / LOG, images)
        tracker_singleton().add_writer(LineWriter(self.folder / LOG))
        write_atomically(self.folder / FORMAT_FILE, f"{FORMAT}\n".encode())

    def metrics(self, images: int, values: dict[str, float]) -> None:
        """Values measured after `images` training images."""
        tracker.save(images, values)

    def say(self, line: str) -> None:
        """Print a line, and keep it in the run's console log."""
        if not self.quiet:
            print(printable(line), flush=True)
        with open(self.folder / CONSOLE, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def summary(self, values: dict[str, Any]) -> None:
        """What the run ended with."""
        content = json.dumps(values, indent=2) + "\n"
        write_atomically(self.folder / SUMMARY, content.encode())
