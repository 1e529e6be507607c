"""The checkpoint that a run is resumed from: found and checked before anything of the run is touched."""

from dataclasses import dataclass
from typing import Any

from convmixer.errors import UserError
from convmixer.experiment.experiment import Experiment
from convmixer.tracking.recorder import sound_bytes
from convmixer.tracking.run_folder import LOG
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
    folder = run.checkpoint("last").parent
    state, note = checkpoints.newest_good(folder)
    if state:
        _check_same_data(experiment.describe_data(), state["data"])
        _check_same_batch(experiment.trainer.train.batch_size, state.get("batch_size"))
        lost = _lost_of_log(run, state)
        if lost:
            earlier = checkpoints.go_back(folder, lambda state: "log_bytes" in state and not _lost_of_log(run, state))
            state = earlier or state
            how = f"going back to update {state['step']}, up to which it is whole" if earlier else "the rest is lost"
            note = "; ".join(filter(None, (note, f"{lost}: {how}")))
    return Checkpoint(state, note)


def _lost_of_log(run: Run, state: dict[str, Any]) -> str:
    """Say what the log lacks of what was recorded before this checkpoint; nothing where it is whole.

    A checkpoint says how long the log was, and is on the disk after it; the first versions' checkpoints did not.
    """
    recorded = state.get("log_bytes", 0)
    if not isinstance(recorded, int):
        return ""  # the trainer refuses it
    whole = sound_bytes(run.folder / LOG, recorded)
    if whole == recorded:
        return ""
    return f"{LOG} is damaged: {whole:,} of {recorded:,} bytes recorded up to update {state['step']} are whole"


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
