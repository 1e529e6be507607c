"""Sends a run to a labml server while it trains (`tracking.app_url`). Training never waits for it."""

import logging
import threading

from labml.internal.experiment import experiment_singleton

from convmixer.errors import UserError
from convmixer.project import command
from convmixer.tracking.app_server import AppServer, NotTaken
from convmixer.tracking.outbox import Outbox
from convmixer.tracking.runs import Run

EVERY = 2.0  # seconds between two packets
LONGEST_PAUSE = 60.0  # seconds between attempts while the server does not answer
LAST_WAIT = 2.0  # seconds to send the rest when training ends


class AppWriter(threading.Thread):
    """A thread that sends a run. It replaces labml's `AppExperiment`, so labml tells it when the run ends."""

    def __init__(self, run: Run, url: str) -> None:
        super().__init__(name="tracking.app_url", daemon=True)
        self._outbox = Outbox(run, AppServer(url, run.uuid), wait=True)
        self._ended = threading.Event()
        self._failure = "no answer yet"

    def run(self) -> None:
        try:
            with self._outbox:
                self._follow()
        except Exception as error:  # reported at the end; training continues
            self._failure = f"{type(error).__name__}: {error}"

    def _follow(self) -> None:
        failures = 0
        while True:
            ended = self._ended.is_set()
            failures = 0 if self._send(ended) else failures + 1
            if ended:
                return
            self._ended.wait(min(EVERY * 2 ** min(failures, 10), LONGEST_PAUSE))

    def _send(self, ended: bool) -> bool:
        """Send all new data, and return True if the server took it."""
        try:
            self._outbox.send(ended)
        except (NotTaken, OSError) as error:
            self._failure = str(error)
            return False
        return True

    def worker(self) -> None:
        """Do nothing; labml calls this in data-loading processes."""

    def status(self, rank: int, status: str, details: str, time_: float) -> None:
        """Warn about data that could not be sent; labml calls this when the run has ended."""
        self._ended.set()
        self.join(LAST_WAIT)
        run, server = self._outbox.run, self._outbox.server
        try:
            unsent = self._outbox.unsent()
        except (UserError, OSError) as error:
            unsent = str(error)
        if unsent:
            how = f"{command()} runs send {run.uuid}"
            line = f"not sent to {server.name} ({self._failure}): {unsent}; send this later with: {how}"
            logging.getLogger(__name__).warning(line)


def follow(run: Run, url: str) -> None:
    """Send the run that labml has started, from now until it ends."""
    writer = AppWriter(run, url)
    experiment_singleton().app_experiment = writer
    writer.start()
