"""Sends a run to a labml server elsewhere while it trains (`tracking.app_url`); training never waits for it."""

import logging
import sys
import threading
from pathlib import Path

from labml.internal.experiment import experiment_singleton

from convmixer.errors import UserError
from convmixer.tracking.app_server import AppServer, NotTaken
from convmixer.tracking.outbox import Outbox
from convmixer.tracking.runs import Run

EVERY = 2.0  # seconds between looks into the run's folder
LONGEST_PAUSE = 60.0  # seconds between attempts, while the server is away
LAST_WAIT = 2.0  # seconds for what is left when training ends


class AppWriter(threading.Thread):
    """Stands where labml keeps its own `AppExperiment`, and is told by labml when the run ends."""

    def __init__(self, run: Run, url: str) -> None:
        super().__init__(name="tracking.app_url", daemon=True)
        self._outbox = Outbox(run, AppServer(url, run.uuid), wait=True)
        self._ended = threading.Event()
        self._failure = "no answer yet"

    def run(self) -> None:
        try:
            with self._outbox:
                self._follow()
        except Exception as error:  # a fault here is told at the end, and is none of the training's
            self._failure = f"{type(error).__name__}: {error}"

    def _follow(self) -> None:
        failures = 0
        while True:
            ended = self._ended.is_set()
            failures = 0 if self._send(ended) else failures + 1
            if ended:
                return
            self._ended.wait(min(EVERY * 2**failures, LONGEST_PAUSE))

    def _send(self, ended: bool) -> bool:
        """Whether all that is there was taken."""
        try:
            self._outbox.send(ended)
        except (NotTaken, OSError) as error:
            self._failure = str(error)
            return False
        return True

    def worker(self) -> None:
        """labml calls this in processes that help with data; they send nothing."""

    def status(self, rank: int, status: str, details: str, time_: float) -> None:
        """labml calls this when the run has ended: say what could not be sent."""
        self._ended.set()
        self.join(LAST_WAIT)
        run, server = self._outbox.run, self._outbox.server
        try:
            unsent = self._outbox.unsent()
        except (UserError, OSError) as error:
            unsent = str(error)
        if unsent:
            how = f"python {Path(sys.argv[0]).name} runs send {run.uuid}"
            line = f"not sent to {server.name} ({self._failure}): {unsent}; send them with: {how}"
            logging.getLogger(__name__).warning(line)


def follow(run: Run, url: str) -> None:
    """Send the run that labml has started, from now to its end."""
    writer = AppWriter(run, url)
    experiment_singleton().app_experiment = writer
    writer.start()
