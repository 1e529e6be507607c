"""The interface of a tracker's module, and what such a module is told about a run."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from convmixer.project import is_folder_name
from convmixer.tracking.run_folder import CHANGES, CONSOLE, CURVES, SUMMARY
from convmixer.tracking.runs import Run

PROJECT = "convmixer"  # the name of our project in a tracker, unless its own environment variable gives another
GROUPS = ("sweep:", "seeds:")  # tags of runs that belong together
LONGEST_TEXT = 250  # characters of a config's value; MLflow refuses long ones


class Line(NamedTuple):
    """A line of a run's log: the metrics that were saved after `step` training images, and when."""

    step: int
    time: float
    values: dict[str, float]


class HistogramLine(NamedTuple):
    """A line of a run's `histograms.jsonl`: the histograms of layers after `step` training images, and when."""

    step: int
    time: float
    values: dict[str, list[float]]


class Tracker(Protocol):
    """A run that is open in a tracker. Any method may raise any exception, or wait for long."""

    def __init__(self, run: "TrackedRun") -> None:
        """Begin the run in the tracker, or go on with it."""

    @staticmethod
    def place(run: "TrackedRun") -> str:
        """Return in words where the tracker keeps the run; a run that was sent to one place is new at another."""

    @staticmethod
    def has(run: "TrackedRun") -> bool:
        """Return False if the run is not there, perhaps no longer."""

    def log(self, lines: Sequence[Line]) -> None:
        """Take these lines, at most `feed.AT_ONCE`. A name `loss.train` becomes `loss/train`, so charts are grouped."""

    # A tracker that takes histograms has this method, too: log_histograms(lines: Sequence[HistogramLine]) -> None

    def rewind(self, step: int) -> bool:
        """Forget all from this step on, as it is trained again to other values. Return False if that can't be done."""

    def end(self, status: str) -> None:
        """Take the run's results and files, and close it. The status is one of `Run.status`."""


class TrackedRun:
    """A run as trackers are told of it.

    Args:
        pid: the process that trains it; None if none does.
    """

    def __init__(self, run: Run, pid: int | None = None) -> None:
        self.run = run
        self.pid = pid
        self.uuid = run.uuid
        self.logs = run.folder.parent.parent

    @cached_property
    def name(self) -> str:
        name = self.run.info["name"]
        return f"{name if is_folder_name(name) else 'run'}-{self.uuid[:8]}"

    @cached_property
    def group(self) -> str | None:
        """The name of the sweep, or of the series of seeds, that the run belongs to."""
        tags = self.run.info["tags"]
        groups = [tag.partition(":")[2] for kind in GROUPS for tag in tags if tag.startswith(kind)]
        return next(filter(is_folder_name, groups), None)

    @cached_property
    def configs(self) -> dict[str, int | float | str]:
        """Each key's value; without those that say where the run is tracked: a token may be in them."""
        configs = self.run.configs
        groups = {name.partition(".")[0] for name in configs if "." in name}
        keys = {n: _plain(v) for n, v in configs.items() if n not in groups and not n.startswith("tracking.")}
        return {n: v for n, v in keys.items() if "\n" not in str(v)}  # objects set in code, such as the model

    @property
    def point(self) -> str:
        """A name that runs share which differ in their seed alone."""
        rest = sorted((name, value) for name, value in self.configs.items() if name not in ("seed", "seeds"))
        return hashlib.sha256(repr(rest).encode()).hexdigest()[:8]

    @property
    def started(self) -> float:
        """The time when it began, in seconds since 1970."""
        info = self.run.info
        try:
            return datetime.fromisoformat(f"{info['trial_date']} {info['trial_time']}").timestamp()
        except (ValueError, OverflowError, OSError):
            return (self.run.folder / "run.yaml").stat().st_mtime

    @property
    def results(self) -> dict[str, int | float | str]:
        """The plain values of the summary; empty before the end."""
        return {name: value for name, value in self.run.summary.items() if isinstance(value, int | float | str)}

    @property
    def test_metrics(self) -> dict[str, float]:
        """The metrics of the test images; empty before the end."""
        return {name: float(value) for name, value in self.results.items() if name.endswith(".test")}

    @property
    def console(self) -> str:
        """The lines that the run printed."""
        file = self.run.folder / CONSOLE
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def files(self) -> list[Path]:
        """The files that are sent: what was printed, the curves, the summary, live changes; those that are there."""
        return [file for name in (CONSOLE, CURVES, SUMMARY, CHANGES) if (file := self.run.folder / name).exists()]


def _plain(value: Any) -> int | float | str:
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"[:LONGEST_TEXT]
    return value if isinstance(value, int | float) else str("none" if value is None else value)[:LONGEST_TEXT]


def chart_name(metric: str) -> str:
    """Return a metric's name for a tracker, which groups charts by what is before a slash: `loss/train`."""
    return metric.replace(".", "/", 1)
