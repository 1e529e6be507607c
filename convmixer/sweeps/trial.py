"""One trial while it is evaluated: its runs, one after another, a run for each seed.

All that is known of a trial is in the study's database and in the folders of its runs, whose uuids follow from study,
trial, point and seed. A sweep may be killed at any moment: whoever takes it up again finds what there is and goes on.
"""

import math
import statistics
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import optuna
from optuna.trial import TrialState

from convmixer.console import as_argument
from convmixer.sweeps.executors import Executor, Process, Task
from convmixer.sweeps.search import Objective
from convmixer.sweeps.space import Space
from convmixer.tracking.known_runs import begin_or_resume, find_run
from convmixer.tracking.run_folder import LOG, read_log
from convmixer.tracking.runs import Run

EPOCH_ENDS = "accuracy.valid"  # recorded once an epoch


@dataclass(frozen=True)
class Plan:
    """What every trial of a sweep shares.

    Args:
        folder: the study's; logs: where runs lie.
        seeds: the seed of each run of a trial.
        retry: how often a trial that failed is gone on with.
    """

    name: str
    folder: Path
    logs: Path
    space: Space
    objective: Objective
    seeds: tuple[int, ...]
    retry: int = 0


class ActiveTrial:
    """A trial of `plan` that is being evaluated by `executor`."""

    def __init__(self, plan: Plan, trial: optuna.Trial, executor: Executor) -> None:
        self.plan = plan
        self.trial = trial
        self.point = plan.space.suggest(trial)
        self.process: Process | None = None
        self._executor = executor
        self._values: list[float] = []
        self._epochs = 0  # of the present run
        self._log_size = -1
        self._is_pruned = False
        words = " ".join(plan.space.arguments(self.point))
        identity = f"{trial.study.user_attrs['id']}/{trial.number}/{words}"
        self._uuids = [uuid.uuid5(uuid.NAMESPACE_OID, f"{identity}/{seed}").hex for seed in plan.seeds]
        trial.set_user_attr("runs", self._uuids)

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def epochs(self) -> int:
        """Epochs of the present run so far."""
        return self._epochs

    @property
    def has_begun(self) -> bool:
        return self.process is not None

    @property
    def output(self) -> Path:
        """What the trial's runs print."""
        return self.plan.folder / "trials" / f"{self.number:04}.log"

    def advance(self) -> bool:
        """See how far it is and do what comes next. True once the trial has ended and the study was told."""
        if self.process is None:
            return self._next_run()
        status = self.process.poll()
        self._follow()
        if status is None:
            return False
        self.process = None
        return self._run_ended(status)

    def stop(self) -> None:
        """Have its run save a checkpoint and end."""
        if self.process is not None:
            self.process.stop()

    def _next_run(self) -> bool:
        run = self._run()
        if run is not None and run.is_running():  # an earlier sweep's, which is still writing its checkpoint
            return False
        if run is not None and run.summary:
            self._follow()
            return self._run_ended(0)
        if self._executor.free():
            self._start(run)
        return False

    def _start(self, run: Run | None) -> None:
        uuid = self._uuids[len(self._values)]
        seed = as_argument("seed", self.plan.seeds[len(self._values)])
        arguments = begin_or_resume(run, uuid, ["train", *self.plan.space.arguments(self.point), seed])
        arguments.append("--quiet")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with open(self.output, "a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(arguments)}\n")
        self._epochs, self._log_size = 0, -1
        self.process = self._executor.start(Task(uuid, self.plan.name, tuple(arguments), self.output))

    def _run(self) -> Run | None:
        """The present run, where its folder is there."""
        return find_run(self._uuids[len(self._values)], self.plan.logs)

    def _follow(self) -> None:
        """Pass on what the first run's epochs came to, and stop it where it is not worth going on."""
        run = self._run()
        log = run.folder / LOG if run else None
        size = log.stat().st_size if log and log.exists() else -1
        if size == self._log_size or log is None:
            return
        self._log_size = size
        values = list(epoch_values(log, self.plan.objective.metric))
        self._epochs = len(values)
        if self._values:
            return
        told = self.trial.study._storage.get_trial(self.trial._trial_id).intermediate_values
        for epoch, value in enumerate(values, 1):
            if epoch not in told and math.isfinite(value):
                self.trial.report(value, epoch)
                self._prune_if_hopeless()

    def _prune_if_hopeless(self) -> None:
        if not self._is_pruned and self.process is not None and self.trial.should_prune():
            self._is_pruned = True
            self.process.stop()

    def _run_ended(self, status: int) -> bool:
        run = self._run()
        if run is not None and run.summary:
            value = _value(run, self.plan.objective.metric)
            if value is None:
                return self._fail(f"the run recorded no {self.plan.objective.metric}, only {', '.join(_recorded(run))}")
            if not math.isfinite(value):
                return self._fail(f"{self.plan.objective.metric} is {value}")
            self._values.append(value)
            return self._complete() if len(self._values) == len(self._uuids) else False
        if self._is_pruned:
            self.trial.study.tell(self.trial, state=TrialState.PRUNED)
            return True
        return self._retry_or_fail(status)

    def _complete(self) -> bool:
        if len(self._values) > 1:
            self.trial.set_user_attr("values", self._values)
            self.trial.set_user_attr("deviation", statistics.stdev(self._values))
        self.trial.study.tell(self.trial, statistics.mean(self._values))
        return True

    def _retry_or_fail(self, status: int) -> bool:
        tried = self.trial.user_attrs.get("retries", 0)
        if tried >= self.plan.retry:
            return self._fail(self._reason(status))
        self.trial.set_user_attr("retries", tried + 1)
        return False

    def _reason(self, status: int) -> str:
        last = _last_line(self.output)
        if status < 0:
            hint = " (out of memory?)" if status == -9 else ""
            return f"killed by {Signals(-status).name}{hint}"
        if status == 0:
            return "it ended without a summary"
        return f"ended with status {status}" if last.startswith("$ ") else last.removeprefix("error: ")

    def _fail(self, reason: str) -> bool:
        lines = self.output.read_text(errors="replace").count("\n") if self.output.exists() else 0
        self.trial.set_user_attr("reason", reason)
        self.trial.set_user_attr("log", f"{self.output}:{lines}")
        self.trial.study.tell(self.trial, state=TrialState.FAIL)
        return True


def epoch_values(log: Path, metric: str) -> Iterator[float]:
    """The metric as it was at the end of each epoch."""
    value = None
    for line in read_log(log):
        points = line["track"]
        if metric in points:
            value = statistics.fmean(points[metric][-1][1])
        if EPOCH_ENDS in points and value is not None:
            yield value


def _value(run: Run, metric: str) -> float | None:
    """What the run ended with: of the weights that were tested, else recorded last."""
    if metric in run.summary:
        return float(run.summary[metric])
    values = [line["track"][metric] for line in read_log(run.folder / LOG) if metric in line["track"]]
    return statistics.fmean(values[-1][-1][1]) if values else None


def _recorded(run: Run) -> list[str]:
    names: dict[str, Any] = {}
    for line in read_log(run.folder / LOG):
        names |= line["track"]
    return list(names)


def _last_line(file: Path) -> str:
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:500] if lines else ""
