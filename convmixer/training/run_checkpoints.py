"""The checkpoints of one run while it trains: when they are saved, and which of them is gone back to."""

import math
import time
from pathlib import Path
from typing import Any

from convmixer.errors import UserError
from convmixer.files.atomic import clear_leftovers
from convmixer.training.checkpoints import keep, load, save

State = dict[str, Any]


class RunCheckpoints:
    """`last`, `previous` and `best` in a folder.

    `last` is where a run goes on. `previous` stands in where `last` is damaged: the newest one of an epoch's end beside
    `last`, or of within the first epoch while none has ended. So one of both is of an epoch's end, whenever `last` was
    saved: what `on_nan=rewind` goes back to does not depend on the clock.

    Args:
        minutes: after which a checkpoint is due; None: never.
        restored: the state of `last`, where a run is gone on with.
    """

    def __init__(self, folder: Path, steps_per_epoch: int, minutes: float | None, restored: State | None) -> None:
        self.last, self.previous, self.best = (folder / f"{name}.pt" for name in ("last", "previous", "best"))
        clear_leftovers(self.last, self.previous, self.best)
        self._steps_per_epoch = steps_per_epoch
        self._seconds = math.inf if minutes is None else minutes * 60
        self._last_ended_epoch = restored is not None and self._ends_epoch(restored)
        self._saved = time.monotonic()

    def _ends_epoch(self, state: State) -> bool:
        return state["step"] % self._steps_per_epoch == 0

    def is_due(self) -> bool:
        """Whether it is time to save, in the middle of an epoch."""
        return time.monotonic() - self._saved >= self._seconds

    def save_last(self, state: State) -> None:
        """Save `state` to go on from, and keep the one before it as the class says.

        Raises:
            OSError: the disk is full or read-only; the checkpoints there are as they were.
        """
        if self.last.exists() and (self._last_ended_epoch or not self.previous.exists()):
            keep(self.last, self.previous)
        save(self.last, state)
        self._last_ended_epoch = self._ends_epoch(state)
        self._saved = time.monotonic()

    def newest_of_an_epoch_end(self) -> State | None:
        """Of `last` and `previous`; None where no whole one is there."""
        for path in (self.last, self.previous):
            try:
                state = load(path)
            except UserError:
                continue
            if self._ends_epoch(state):
                return state
        return None

    def has_best_of(self, state: State) -> bool:
        """Whether `best` is there, whole, and not of an update that `state` has yet to make."""
        try:
            return load(self.best)["step"] <= state["step"]
        except UserError:
            return False
