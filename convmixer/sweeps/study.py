"""Drives a sweep: asks Optuna for points, has them trained, tells it what came out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from signal import SIGINT
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from convmixer.errors import Interrupted, TrainingFault
from convmixer.sweeps import search
from convmixer.sweeps.executors import PATIENCE, Executor
from convmixer.sweeps.trial import ActiveTrial, Plan
from convmixer.training.stopping import StopRequest


@dataclass(frozen=True)
class Limits:
    """How far a sweep goes: trials in all, over all times that it was started; seconds this time."""

    trials: int
    seconds: float | None = None


@dataclass(frozen=True)
class Search:
    """How points are found; unlike the space, it may change between two starts of a study."""

    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0


class Watcher(Protocol):
    """Who is told how a sweep goes."""

    def ended(self, trial: FrozenTrial) -> None:
        """A trial has ended."""

    def looked(self, active: list[ActiveTrial]) -> None:
        """What is being evaluated was looked at."""


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
        self._points = plan.space.grid() if how.sampler == "grid" else None
        self._active: list[ActiveTrial] = []
        self._begun = 0
        self.total = limits.trials if self._points is None else min(limits.trials, len(self._points))
        study.pruner = search.pruner(how.pruner)

    def run(self, watcher: Watcher) -> None:
        """Evaluate what is left.

        Raises:
            Interrupted: a signal stopped it; what ran has saved a checkpoint.
            TrainingFault: every trial failed.
        """
        deadline = time.monotonic() + self.limits.seconds if self.limits.seconds else float("inf")
        with StopRequest() as stop:
            try:
                self._take_up()
                while not self._is_done():
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
                    "the sweep was stopped; the same command goes on with it", stop.signal or SIGINT
                ) from None
        self._fail_if_all_did()

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
        self._active.append(ActiveTrial(self.plan, make(), self._executor))

    def _ask(self) -> optuna.Trial:
        if self._points is not None and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.enqueue_trial(self._points[self._begun])
        return self.study.ask()

    def _advance(self, watcher: Watcher) -> bool:
        """Look at every trial. True where one has ended."""
        ended = [active for active in self._active if active.advance()]
        for active in ended:
            self._active.remove(active)
            watcher.ended(self.study.get_trials(deepcopy=False)[active.number])
        watcher.looked(self._active)
        return bool(ended)

    def _stop(self) -> None:
        """What runs saves a checkpoint and stays with the study as running."""
        running = [t for t in self._active if t.process is not None]
        for active in running:
            active.stop()
        end = time.monotonic() + PATIENCE
        while any(t.process.poll() is None for t in running) and time.monotonic() < end:
            time.sleep(self.poll)

    def _fail_if_all_did(self) -> None:
        trials = self.study.trials
        if trials and all(t.state == TrialState.FAIL for t in trials):
            reason = trials[-1].user_attrs.get("reason", "")
            raise TrainingFault(f"all {len(trials)} trials failed, the last one: {reason}")
