"""What a run goes on from: found and checked before anything of the run is touched."""

from dataclasses import dataclass
from typing import Any

from convmixer.configs import Configs
from convmixer.errors import UserError
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints


@dataclass(frozen=True)
class Restored:
    """What a run goes on from: the state of a checkpoint, where one was made, and what there is to say of it."""

    state: dict[str, Any] | None = None
    note: str | None = None


def restore(conf: Configs, old: Run) -> Restored:
    """Find the checkpoint that a run goes on from, before anything of the run is touched.

    Raises:
        UserError: the run has ended, none of its checkpoints is good, or the data are not those it was trained on.
    """
    check_unended(old)
    state, note = checkpoints.newest_good(old.checkpoint("last").parent)
    if state:
        _check_same_data(describe_data(conf), state["data"])
        _check_same_batch(conf.trainer.train.batch_size, state.get("batch_size"))
    return Restored(state, note)


def check_unended(run: Run) -> None:
    """Raise a `UserError` for a run that has ended: there is nothing to go on with."""
    if run.summary:
        raise UserError(f"run {run.uuid[:8]} has ended: `evaluate {run.uuid[:8]}` tests it again")


def describe_data(conf: Configs) -> dict[str, Any]:
    """What a run must find again of the images that it was trained on."""
    dataset = conf.data.dataset
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "train_images": conf.trainer.train.n_images,
        "image_shape": list(dataset.train.images.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }


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
