"""Sums up what is known of a run, by name: for `runs`, its filters, and the table of runs in notebooks."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from convmixer.errors import UserError
from convmixer.project import is_our_own_start
from convmixer.tracking.recorded_run import Run
from convmixer.tracking.run_folder import check_folder

DAMAGED = "damaged"
# What is known of each run. accuracy.valid is the highest so far until the run has ended.
FIELDS = ("run", "name", "comment", "date", "status", "data", "epochs_done", "epochs_total", "accuracy.valid")
FIELDS += ("accuracy.test", "script", "own", "sweep", "given", "folder", "problem")
SHORT_NAMES = {"valid": "accuracy.valid", "test": "accuracy.test"}


@dataclass(frozen=True, eq=False)
class Facts:
    """All that is known of a run. A damaged run has the status `damaged` and a `problem`, and nothing else is known.

    Attributes:
        run: the run.
        known: a value for each of `FIELDS`; None where it is not known, or not yet.
    """

    run: Run
    known: dict[str, Any]

    @property
    def is_damaged(self) -> bool:
        return self.known["status"] == DAMAGED

    @cached_property
    def latest(self) -> dict[str, float]:
        """The latest value of each metric; empty if the log is damaged."""
        try:
            return {name: value for _, values in sorted(self.run.points.items()) for name, value in values.items()}
        except UserError:
            return {}

    def _more(self) -> Iterator[Mapping[str, Any]]:
        """Yield what else has values: keys, the results of the end, and metrics, which take the longest to read."""
        if not self.is_damaged:
            yield self.run.recorded
            yield self.run.summary
            yield self.latest

    def has(self, name: str) -> bool:
        """Return True if the run has something of this name, perhaps without a value yet."""
        return name in self.known or name in SHORT_NAMES or any(name in values for values in self._more())

    def value(self, name: str) -> Any:
        """Return the value of a field, a key, a result or a metric; None where the run has none."""
        name = SHORT_NAMES.get(name, name)
        if name in self.known:
            return self.known[name]
        return next((values[name] for values in self._more() if name in values), None)

    def names(self) -> set[str]:
        """Return all names that `value` takes."""
        return {*self.known, *SHORT_NAMES, *itertools.chain.from_iterable(self._more())}


def facts(run: Run) -> Facts:
    """Return what is known of a run. A damaged run must not hide the others: no error is raised."""
    try:
        check_folder(run.folder)
        known = _known(run)
    except UserError as error:
        known = {"run": run.uuid, "name": run.folder.parent.name, "status": DAMAGED, "problem": str(error)}
        known["folder"] = str(run.folder)
    return Facts(run, dict.fromkeys(FIELDS) | known)


def _known(run: Run) -> dict[str, Any]:
    info, summary, start = run.info, run.summary, run.start
    script = info["python_file"].replace("\\", "/").rpartition("/")[2]
    known = {
        "run": run.uuid,
        "name": info["name"],
        "comment": info["comment"] or None,
        "date": f"{info['trial_date']} {info['trial_time'][:5]}",
        "status": run.status,
        "data": run.data,
        "epochs_total": _total_epochs(run),
        "script": None if is_our_own_start(script) and not start.get("own") else script,
        "own": start.get("own") or None,
        "sweep": run.sweep,
        "given": run.given,
        "folder": str(run.folder),
    }
    if summary:
        ended = {"accuracy.valid": summary.get("accuracy.valid"), "accuracy.test": summary.get("accuracy.test")}
        return known | {"epochs_done": summary.get("epochs")} | ended
    return known | _progress(run)


def _progress(run: Run) -> dict[str, Any]:
    """Return how far a run that has not ended has come: the epochs, and the highest validation accuracy."""
    try:
        points = run.points
    except UserError:
        return {}  # the log alone is damaged: `resume` goes back to before the damage
    validated = {step: values["accuracy.valid"] for step, values in points.items() if "accuracy.valid" in values}
    an_epoch = run.start.get("train_images") or min(validated, default=None)  # older versions have no start.json
    done = max(points, default=0) / an_epoch if an_epoch else None
    return {"epochs_done": done, "accuracy.valid": max(validated.values(), default=None)}


def _total_epochs(run: Run) -> float | None:
    start, recorded = run.start, run.recorded
    if start.get("steps_per_epoch") and "total_steps" in start:
        return start["total_steps"] / start["steps_per_epoch"]
    by_epochs = recorded.get("steps") is None and recorded.get("minutes") is None
    epochs = recorded.get("epochs")
    return epochs if by_epochs and isinstance(epochs, int | float) else None
