"""The checkpoint that a run is resumed from: found and checked before anything of the run is touched."""

from dataclasses import dataclass
from typing import Any

from convmixer.errors import UserError
from convmixer.experiment.experiment import Experiment
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """The state that a run is resumed from.

    Attributes:
        state: of the trainer; None where the run has made no checkpoint yet.
        note: a line that says so where it is not the newest one.
    """

    state: dict[str, Any] | None = None
    note: str | None = None


def find_checkpoint(experiment: Experiment, run: Run) -> Checkpoint:
    """Find the checkpoint that `run` is resumed from.

    Raises:
        UserError: the run has ended, none of its checkpoints is good, or the data are not those it was trained on.
    """
    check_unended(run)
    state, note = checkpoints.newest_good(run.checkpoint("last").parent)
    if state:
        _check_same_data(experiment.describe_data(), state["data"])
        _check_same_batch(experiment.trainer.train.batch_size, state.get("batch_size"))
    return Checkpoint(state, note)


def check_unended(run: Run) -> None:
    """Raise a `UserError` for a run that has ended: there is nothing to resume."""
    if run.summary:
        raise UserError(f"run {run.uuid[:8]} has ended: `evaluate {run.uuid[:8]}` tests it again")


def _check_same_data(now: dict[str, Any], then: dict[str, Any]) -> None:
    differing = [key for key in then if now[key] != then[key]]
    if differing:
        key = differing[0]
        raise UserError(f"data: this run was trained on other images: {key} was {then[key]}, now {now[key]}")


def _check_same_batch(now: int, then: int | None) -> None:
    if then not in (None, now):
        raise UserError(
            f"command line: an update of this run is {then} images, but would be {now} with this number of workers, "
            f"as batch_per_worker is true"
        )
