"""Changes values of a training between two updates: learning rates, weight decay, label smoothing, clipping."""

from collections.abc import Mapping
from typing import Any

from convmixer.training.optimizers import decaying_groups, rate_keys
from convmixer.training.trainer import Trainer


class Adjuster:
    """Sets values of a trainer, in proportion to those that it began with: some groups have multiples of a key's value.

    Args:
        trainer: before a state is loaded into it.
        values: the value of every key at the beginning.
    """

    def __init__(self, trainer: Trainer, values: Mapping[str, Any]) -> None:
        self.trainer = trainer
        self.values = values
        self.rates = list(trainer.learning_rates)
        self.decays = [group["weight_decay"] for group in decaying_groups(trainer.optimizer)]

    def set(self, values: Mapping[str, Any]) -> None:
        """Make the next update use these values of `tracking.live_changes.ADJUSTABLE`."""
        trainer, optimizer = self.trainer, self.trainer.optimizer
        keys = rate_keys(optimizer)
        trainer.learning_rates = [rate * self._ratio(values, key) for rate, key in zip(self.rates, keys, strict=True)]
        decay_ratio = self._ratio(values, "optimizer.weight_decay")
        for group, decay in zip(decaying_groups(optimizer), self.decays, strict=True):
            group["weight_decay"] = decay * decay_ratio
        trainer.label_smoothing = values["label_smoothing"]
        trainer.gradient_clip = values["gradient_clip"]

    def _ratio(self, values: Mapping[str, Any], key: str) -> float:
        first = self.values[key]
        return values[key] / first if first else 1.0
