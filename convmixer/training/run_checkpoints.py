"""Keeps the checkpoints of one run: decides when to save, and which one a run goes back to."""

import math
import time
from pathlib import Path
from typing import Any

from convmixer.errors import UserError
from convmixer.files.atomic import clear_leftovers
from convmixer.training.checkpoints import keep, load, save

State = dict[str, Any]


class RunCheckpoints:
    """The checkpoints `last`, `previous` and `best` in a run's folder.

    A run is resumed from `last`, or from `previous` if `last` is damaged. `previous` is the newest other checkpoint
    from the end of an epoch; in the first epoch it may be from within it. So one of the two is always from the end of
    an epoch, and what `on_nan=rewind` goes back to does not depend on the time when `last` was saved.

    Args:
        minutes: the time after which a checkpoint is due within an epoch; None: never.
        restored: the state of `last` if the run is resumed, else None.
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
        """Return True if it is time to save within an epoch."""
        return time.monotonic() - self._saved >= self._seconds

    def save_last(self, state: State) -> None:
        """Save `state` as `last`, and keep the one before it as `previous` if it is to be kept.

        Raises:
            OSError: the disk is full or read-only; the existing checkpoints are unchanged.
        """
        if self.last.exists() and (self._last_ended_epoch or not self.previous.exists()):
            keep(self.last, self.previous)
        save(self.last, state)
        self._last_ended_epoch = self._ends_epoch(state)
        self._saved = time.monotonic()

    def newest_of_an_epoch_end(self) -> State | None:
        """Load `last` or `previous`, the newest that is from the end of an epoch; None if there is no good one."""
        for path in (self.last, self.previous):
            try:
                state = load(path)
            except UserError:
                continue
            if self._ends_epoch(state):
                return state
        return None

    def has_best_of(self, state: State) -> bool:
        """Return True if `best` exists, is not damaged, and is not from a later update than `state`."""
        try:
            return load(self.best)["step"] <= state["step"]
        except UserError:
            return False
