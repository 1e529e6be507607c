"""Sends one run to one tracker, from the run's folder."""

import hashlib
from collections.abc import Callable
from importlib import import_module
from types import TracebackType

from filelock import FileLock, Timeout

from convmixer.errors import UserError
from convmixer.tracking.run_folder import HISTOGRAMS, LOG, TRACKERS
from convmixer.tracking.trackers.log_reader import histograms_reader, metrics_reader
from convmixer.tracking.trackers.sent import Sent
from convmixer.tracking.trackers.tracker import TrackedRun, Tracker

AT_ONCE = 100  # lines of a log that a tracker is given at a time


class Feed:
    """Sends a run to the tracker `name`. Only one process at a time may use it.

    Args:
        wait: seconds to wait while another process is sending the run there.

    Raises:
        UserError: another process is sending this run there.
    """

    def __init__(self, run: TrackedRun, name: str, wait: float = 0) -> None:
        self._run = run
        self._kind: type[Tracker] = import_module(f"convmixer.tracking.trackers.{name}").TRACKER
        self._tracker: Tracker | None = None
        self._reader = metrics_reader(run.run.folder / LOG)
        self._histograms = histograms_reader(run.run.folder / HISTOGRAMS)
        folder = run.run.folder / TRACKERS
        folder.mkdir(exist_ok=True)
        self._lock = FileLock(folder / f".{name}.lock")
        try:
            self._lock.acquire(timeout=wait)
        except Timeout:
            raise UserError(f"run {run.uuid[:8]} is being sent to {name} by another process") from None
        self._sent = Sent(folder / f"{name}.sent", self._kind.place(run))
        self._sent_histograms = Sent(folder / f"{name}.histograms.sent", self._kind.place(run))
        if self._sent.last_step >= 0 and not self._kind.has(run):
            self._forget()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()

    @property
    def place(self) -> str:
        """Say where the tracker keeps the run."""
        return self._kind.place(self._run)

    def open(self) -> Tracker:
        """Open the run in the tracker, unless it is open."""
        if self._tracker is None:
            self._tracker = self._kind(self._run)
        return self._tracker

    def _forget(self, step: int = -1) -> None:
        """Take note that the tracker has nothing from a step on."""
        for sent in (self._sent, self._sent_histograms):
            if sent.last_step >= 0:
                sent.forget(step)
        self._histograms.restart()

    def send(self, on_progress: Callable[[], None] = lambda: None) -> int:
        """Send the lines that the tracker does not have, and return how many.

        Args:
            on_progress: called each time when the tracker has taken some.
        """
        count = 0
        while lines := self._reader.read(AT_ONCE):
            new = [line for line in lines if line not in self._sent]
            if not new:
                continue
            first = min(line.step for line in new)
            try:
                if first < self._sent.last_step and self.open().rewind(first):
                    self._forget(first)
                    self._reader.restart()
                    continue
                self.open().log(new)
            except BaseException:
                self._reader.restart()  # so that they are sent again
                raise
            self._sent.add(new)
            on_progress()
            count += len(new)
        return count + self._send_histograms(on_progress)

    def _send_histograms(self, on_progress: Callable[[], None]) -> int:
        """Send the histograms that the tracker does not have, if it takes any. Return how many lines."""
        count = 0
        while hasattr(self._kind, "log_histograms") and (lines := self._histograms.read(AT_ONCE)):
            new = [line for line in lines if line not in self._sent_histograms]
            if not new:
                continue
            try:
                self.open().log_histograms(new)
            except BaseException:
                self._histograms.restart()
                raise
            self._sent_histograms.add(new)
            on_progress()
            count += len(new)
        return count

    def end(self, status: str) -> bool:
        """Send results and files, and close the run there. Return False if the tracker has them already."""
        contents = hashlib.sha256(status.encode())
        for file in self._run.files:
            contents.update(file.read_bytes())
        end = contents.hexdigest()[:16]
        if self._tracker is None and self._sent.has_end(end):
            return False
        self.open().end(status)
        self._sent.add_end(end)
        return True
