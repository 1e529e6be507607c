"""Finds and checks the checkpoint that a run is resumed from, before the run's files are changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convmixer.console import composed
from convmixer.errors import UserError
from convmixer.experiment.experiment import Experiment
from convmixer.tracking.recorder import sound_bytes
from convmixer.tracking.repeating import LENGTHS, command_of
from convmixer.tracking.run_folder import LOG
from convmixer.tracking.runs import Run, all_runs
from convmixer.training import checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """The state that a run is resumed from.

    Attributes:
        state: the trainer's state; None if the run has no checkpoint yet.
        note: a line that is printed if this is not the newest checkpoint, as that is damaged.
    """

    state: dict[str, Any] | None = None
    note: str | None = None


def find_checkpoint(experiment: Experiment, run: Run) -> Checkpoint:
    """Find the checkpoint that `run` is resumed from.

    Raises:
        UserError: the run has ended, all its checkpoints are damaged, or it was trained on other data.
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


def check_unended(run: Run, changes: Mapping[str, Any] | None = None) -> None:
    """Check that a run has not ended yet.

    Args:
        changes: the values that were given for a resumed run, such as more epochs.

    Raises:
        UserError: it has ended, so that there is nothing to resume; the message has the command that trains on.
    """
    if run.summary:
        length = {name: value for name, value in (changes or {}).items() if name in LENGTHS} or {"epochs": "N"}
        left_out = (*LENGTHS, "starts", "pretrained", "changes")
        train_on = command_of(run, left_out, {"pretrained": run.uuid[:8], **length})
        raise UserError(
            f"run {run.uuid[:8]} ({run.info['name']}) has ended, so it can't be resumed; "
            f"a new run begins with its weights by: {train_on}{_resumable(run)}"
        )


def _resumable(run: Run) -> str:
    """Name the newest run beside this one that can be resumed, if there is one."""
    stopped = [r for r in all_runs(run.folder.parents[1]) if r.status in ("interrupted", "crashed", "killed")]
    return f"; the newest run that can be resumed is {stopped[-1].uuid[:8]}" if stopped else ""


def _check_same_data(now: dict[str, Any], then: dict[str, Any]) -> None:
    now = now | {"classes": _composed(now["classes"])}  # older versions recorded names as they are on a Mac's disk
    differing = [key for key in then if now[key] != (_composed(then[key]) if key == "classes" else then[key])]
    if differing:
        key = differing[0]
        raise UserError(f"data: this run was trained on other images: {key} was {then[key]}, now {now[key]}")


def _composed(names: Any) -> Any:
    is_right = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return [composed(name) for name in names] if is_right else names


def _check_same_batch(now: int, then: int | None) -> None:
    if then not in (None, now):
        raise UserError(
            f"command line: this run was trained with {then} images in each update; with this number of workers and "
            f"batch_per_worker=true there would be {now}"
        )
