"""One trial while it is evaluated: its runs, one after another, a run for each seed.

All that is known of a trial is in the study's database and in the folders of its runs, whose uuids follow from study,
point and seed. A sweep may be killed at any moment: whoever takes it up again finds what there is and resumes it. So
does a trial at a point that was tried before: its runs are there, and none is trained twice.
"""

import math
import statistics
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import optuna
from optuna.trial import TrialState

from convmixer.console import as_argument, duration
from convmixer.errors import TrainingFault
from convmixer.sweeps.executors import Executor, Process, Task
from convmixer.sweeps.search import Objective
from convmixer.sweeps.space import Space
from convmixer.tracking.known_runs import begin_or_resume, find_run
from convmixer.tracking.run_folder import LOG, read_log
from convmixer.tracking.runs import Run

EPOCH_ENDS = "accuracy.valid"  # recorded once an epoch
TAIL = 2**16  # bytes of what a run printed; it may be without end


@dataclass(frozen=True)
class Plan:
    """All that every trial of a sweep shares.

    Args:
        folder: the study's; logs: where runs lie.
        seeds: the seed of each run of a trial.
        retry: how often a trial that failed is resumed.
        stall: seconds after which a run that has recorded nothing new is stopped, and has failed.
    """

    name: str
    folder: Path
    logs: Path
    space: Space
    objective: Objective
    seeds: tuple[int, ...]
    retry: int = 0
    stall: float = math.inf


class ActiveTrial:
    """A trial of `plan` that is being evaluated by `executor`.

    Args:
        others: all that are being evaluated; one of them may be at the same point.
    """

    def __init__(self, plan: Plan, trial: optuna.Trial, executor: Executor, others: list["ActiveTrial"]) -> None:
        self.plan = plan
        self.trial = trial
        self.point = plan.space.suggest(trial)
        self.process: Process | None = None
        self._executor = executor
        self._others = others
        self._values: list[float] = []
        self._epochs = 0  # of the present run
        self._log_size = -1
        self._is_pruned = False
        self._is_stalled = False
        self._grew_at = time.monotonic()
        words = " ".join(plan.space.arguments(self.point))
        identity = f"{trial.study.user_attrs['id']}/{words}"
        runs = [uuid.uuid5(uuid.NAMESPACE_OID, f"{identity}/{seed}").hex for seed in plan.seeds]
        self._uuids = trial.user_attrs.get("runs", runs)  # a study begun by an older version has other uuids
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
        """True while one of its runs is trained."""
        return self.process is not None

    @property
    def uuid(self) -> str:
        """The present run."""
        return self._uuids[min(len(self._values), len(self._uuids) - 1)]

    @property
    def output(self) -> Path:
        """The file of all that the trial's runs print."""
        return self.plan.folder / "trials" / f"{self.number:04}.log"

    def advance(self) -> bool:
        """See how far it is and do what comes next. True once the trial has ended and the study was told."""
        if self.process is None:
            return self._next_run()
        status = self.process.poll()
        self._follow()
        if status is None:
            self._stop_if_stalled()
            return False
        self.process = None
        return self._run_ended(status)

    def stop(self) -> None:
        """Have its run save a checkpoint and end."""
        if self.process is not None:
            self.process.stop()

    def _next_run(self) -> bool:
        if any(other.has_begun and other.uuid == self.uuid for other in self._others):
            return False  # that one trains what this one needs
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
        seed = as_argument("seed", self.plan.seeds[len(self._values)])
        arguments = begin_or_resume(run, self.uuid, ["train", *self.plan.space.arguments(self.point), seed])
        arguments.append("--quiet")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with open(self.output, "a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(arguments)}\n")
        self._epochs, self._log_size = 0, -1
        self._grew_at, self._is_stalled = time.monotonic(), False
        self.process = self._executor.start(Task(self.uuid, self.plan.name, tuple(arguments), self.output))

    def _run(self) -> Run | None:
        """The present run, where its folder is there."""
        return find_run(self.uuid, self.plan.logs)

    def _follow(self) -> None:
        """Pass on what the first run's epochs came to, and stop it where it is not worth going on."""
        run = self._run()
        log = run.folder / LOG if run else None
        size = log.stat().st_size if log and log.exists() else -1
        if size == self._log_size or log is None:
            return
        self._log_size = size
        self._grew_at = time.monotonic()
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

    def _stop_if_stalled(self) -> None:
        if not self._is_stalled and time.monotonic() > self._grew_at + self.plan.stall:
            self._is_stalled = True
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
        earlier = self.trial.study.get_trials(deepcopy=False)[: self.number]
        same = next((t.number for t in earlier if t.user_attrs.get("runs") == self._uuids), None)
        if same is not None:
            self.trial.set_user_attr("same_as", same)
        self.trial.study.tell(self.trial, statistics.mean(self._values))
        return True

    def _retry_or_fail(self, status: int) -> bool:
        reason = self._reason(status)
        if reason.startswith("the disk is full"):  # which is no fault of this point
            raise TrainingFault(f"trial {self.number}: {reason}")
        tried = self.trial.user_attrs.get("retries", 0)
        if tried >= self.plan.retry:
            return self._fail(reason)
        self.trial.set_user_attr("retries", tried + 1)
        return False

    def _reason(self, status: int) -> str:
        last = _last_line(self.output)
        if self._is_stalled:
            return f"it recorded nothing for {duration(self.plan.stall)}"
        if status < 0:
            hint = " (out of memory?)" if status == -9 else ""
            return f"killed by {Signals(-status).name}{hint}"
        if status == 0:
            return "it ended without a summary"
        return f"ended with status {status}" if last.startswith("$ ") else last.removeprefix("error: ")

    def _fail(self, reason: str) -> bool:
        self.trial.set_user_attr("reason", reason)
        self.trial.set_user_attr("log", f"{self.output}:{_count_lines(self.output)}")
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
    """The value that the run ended with: of the weights that were tested, else recorded last."""
    if metric in run.summary:
        return float(run.summary[metric])
    values = [line["track"][metric] for line in read_log(run.folder / LOG) if metric in line["track"]]
    return statistics.fmean(values[-1][-1][1]) if values else None


def _recorded(run: Run) -> list[str]:
    names: dict[str, Any] = {}
    for line in read_log(run.folder / LOG):
        names |= line["track"]
    return list(names)


def _last_line(path: Path) -> str:
    """The last line that is not empty; of a file of any size."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = [line for line in file.read(TAIL).decode(errors="replace").splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:500] if lines else ""


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(TAIL), b""))
