"""The interface between a trainer and those who record, show and stop a training."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from convmixer.training.trainer import Trainer


class Observer(Protocol):
    """An observer of a training, which also decides when to stop and to save; see `experiment.recording`."""

    def metrics(self, images: int, values: dict[str, float]) -> None:
        """Receive the values measured after `images` training images."""

    def stepped(self, trainer: "Trainer") -> None:
        """Take note that an update was made."""

    def epoch_ended(self, trainer: "Trainer", values: dict[str, float]) -> None:
        """Take note that an epoch, or its last part, was trained and validated."""

    def should_stop(self) -> bool:
        """Return True to stop after this batch."""

    def checkpoint_is_due(self) -> bool:
        """Return True to save after this batch, within an epoch."""

    def checkpoint(self, trainer: "Trainer") -> None:
        """Save a checkpoint, as it is due or as the training is about to stop."""
