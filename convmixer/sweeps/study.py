"""Drives a sweep: asks Optuna for points, has them trained, tells it what came out."""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from signal import SIGINT
from typing import Any, Protocol

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from convmixer.errors import Interrupted, TrainingFault
from convmixer.sweeps import search, storage
from convmixer.sweeps.database import problem_of
from convmixer.sweeps.executors import PATIENCE, Executor
from convmixer.sweeps.trial import ActiveTrial, Plan
from convmixer.training.stopping import StopRequest


@dataclass(frozen=True)
class Limits:
    """The end of a sweep: trials in all, over all times that it was started; seconds this time."""

    trials: int
    seconds: float | None = None


@dataclass(frozen=True)
class Search:
    """The way points are found; unlike the space, it may change between two starts of a study."""

    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0


class Watcher(Protocol):
    """Is told how a sweep goes."""

    def ended(self, trial: FrozenTrial) -> None:
        """A trial has ended."""

    def looked(self, active: list[ActiveTrial]) -> None:
        """All trials that are being evaluated were looked at."""


class Sweep:
    """A study with what it takes to go on with it.

    Args:
        poll: seconds between two looks at what runs.
    """

    def __init__(
        self, study: optuna.Study, plan: Plan, how: Search, limits: Limits, executor: Executor, poll: float = 0.05
    ) -> None:
        self.study = study
        self.plan = plan
        self.limits = limits
        self.poll = poll
        self._search = how
        self._executor = executor
        self._points = self._untried() if how.sampler == "grid" else None
        self._active: list[ActiveTrial] = []
        self._begun = 0
        self.total = limits.trials
        if self._points is not None:
            self.total = min(limits.trials, len(study.get_trials(deepcopy=False)) + len(self._points))
        study.pruner = search.pruner(how.pruner)

    def _untried(self) -> list[dict[str, Any]]:
        """The points of the grid at which the study has no trial yet."""
        tried = [t.system_attrs.get("fixed_params", t.params) for t in self.study.get_trials(deepcopy=False)]
        return [point for point in self.plan.space.grid() if point not in tried]

    def run(self, watcher: Watcher) -> None:
        """Evaluate what is left.

        Raises:
            Interrupted: a signal stopped it; what ran has saved a checkpoint.
            TrainingFault: every trial failed, the disk is full, the study's folder or its database is gone; what ran
                has saved a checkpoint.
        """
        deadline = time.monotonic() + self.limits.seconds if self.limits.seconds else float("inf")
        with StopRequest() as stop:
            try:
                self._take_up()
                while not self._is_done():
                    self._check_folder()
                    self._begin_trials()
                    has_ended = self._advance(watcher)
                    if stop.signal is not None:
                        raise KeyboardInterrupt
                    if time.monotonic() > deadline:
                        self._stop()
                        return
                    if not has_ended:  # else there is room for another at once
                        time.sleep(self.poll)
            except KeyboardInterrupt:
                self._stop()
                raise Interrupted(
                    "the sweep was stopped; the same command continues it", stop.signal or SIGINT
                ) from None
            except (StorageInternalError, OSError, TrainingFault) as error:
                self._stop()
                raise TrainingFault(f"{_in_words(error)}; the sweep was stopped") from error
        self._fail_if_all_did()

    def _check_folder(self) -> None:
        if not (self.plan.folder / storage.STUDY).exists():
            raise TrainingFault(
                f"the sweep's folder {self.plan.folder} was removed or moved (its runs are kept in {self.plan.logs})"
            )

    def _take_up(self) -> None:
        """Go on with the trials that an earlier start left running."""
        trials = self.study.get_trials(deepcopy=False)
        self._begun = sum(t.state != TrialState.WAITING for t in trials)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self._add(partial(optuna.Trial, self.study, trial._trial_id), trial.number)

    def _is_done(self) -> bool:
        return not self._active and self._begun >= self.total

    def _begin_trials(self) -> None:
        waiting = sum(not t.has_begun for t in self._active)
        while self._begun < self.total and self._executor.free() > waiting:
            self._add(self._ask, self._begun)
            self._begun += 1
            waiting += 1

    def _add(self, make: Callable[[], optuna.Trial], number: int) -> None:
        self.study.sampler = search.sampler(self._search.sampler, self._search.seed, number)
        self._active.append(ActiveTrial(self.plan, make(), self._executor, self._active))

    def _ask(self) -> optuna.Trial:
        if self._points is not None and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.enqueue_trial(self._points.pop(0))
        return self.study.ask()

    def _advance(self, watcher: Watcher) -> bool:
        """Look at every trial. True where one has ended."""
        has_ended = False
        for active in list(self._active):
            if not active.advance():
                continue
            has_ended = True
            self._active.remove(active)
            watcher.ended(self.study.get_trials(deepcopy=False)[active.number])
        watcher.looked(self._active)
        return has_ended

    def _stop(self) -> None:
        """Stop what runs: it saves a checkpoint, is killed where it does not, and stays with the study as running."""
        running = [t for t in self._active if t.process is not None]
        for active in running:
            active.stop()
        end = time.monotonic() + PATIENCE + 5  # within which what does not end is killed
        while any(t.process.poll() is None for t in running) and time.monotonic() < end:
            time.sleep(self.poll)

    def _fail_if_all_did(self) -> None:
        trials = self.study.trials
        if trials and all(t.state == TrialState.FAIL for t in trials):
            reason = trials[-1].user_attrs.get("reason", "")
            raise TrainingFault(f"all {len(trials)} trials failed, the last one: {reason}")


def _in_words(error: Exception) -> str:
    """The cause on one line."""
    if isinstance(error, StorageInternalError):
        return f"the study's database can't be used: {problem_of(error)}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'unknown file'})"
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
