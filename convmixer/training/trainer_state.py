"""The state of a trainer, as a checkpoint keeps it: everything that the next update depends on."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from convmixer.training.optimizers import load_state, state_with_plain_rates
from convmixer.training.restorable import check_restorable

if TYPE_CHECKING:
    from convmixer.training.trainer import Trainer


def state_of(trainer: "Trainer") -> dict[str, Any]:
    """Return a trainer's state. Weights and sums in it are the trainer's own: they change with the next update."""
    return {
        "step": trainer.step,
        "seconds": trainer.seconds,
        "warm_up_seconds": trainer.warm_up_seconds,
        "best_accuracy": trainer.best_accuracy,
        "rewinds": trainer.rewinds,
        "epoch_loss": trainer.running.epoch_loss,
        "model": trainer.evaluated_model.state_dict(),
        "model_in_training": trainer.model.state_dict() if trainer.average else None,
        "optimizer": state_with_plain_rates(trainer.optimizer),
        "scaler": trainer.scaler.state_dict(),
        "fully_augmented": trainer.train.fully_augmented,
        "interval": trainer.running.interval,
        "epoch_sums": trainer.running.epoch,
        "generator": torch.get_rng_state(),
        "cuda_generators": torch.cuda.get_rng_state_all() if trainer.device.type == "cuda" else [],
    }


def restore(trainer: "Trainer", state: Mapping[str, Any]) -> None:
    """Bring a trainer into a state from `state_of`, of this version or an older one.

    Raises:
        UserError: the state does not fit this trainer, which is left as it was.
    """
    check_restorable(trainer.state_dict(), trainer.optimizer, trainer.scaler.is_enabled(), state)
    trainer.evaluated_model.load_state_dict(state["model"])
    if trainer.average:
        trainer.model.load_state_dict(state["model_in_training"])
    load_state(trainer.optimizer, state["optimizer"])
    if trainer.graphed:
        trainer.graphed.forget()
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.step = state["step"]
    trainer.seconds = state["seconds"]
    trainer.warm_up_seconds = state.get("warm_up_seconds", 0.0)  # older versions did not save it
    trainer.best_accuracy = state["best_accuracy"]
    trainer.rewinds = state.get("rewinds", 0)  # nor this
    trainer.train.fully_augmented = state.get("fully_augmented")  # nor this
    trainer.running.restore(state["interval"], state["epoch_sums"], state.get("epoch_loss", math.inf))
    torch.set_rng_state(state["generator"])
    if len(state["cuda_generators"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_generators"])
