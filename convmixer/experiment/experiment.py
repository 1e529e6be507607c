"""An experiment with all its parts built, ready to train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labml.internal.configs.dynamic_hyperparam import DynamicHyperParam
from torch import nn

from convmixer.data.batches import Batches
from convmixer.data.splits import Dataset, Split
from convmixer.model.kernels import Path as KernelPath
from convmixer.training.distributed.workers import Workers
from convmixer.training.residence import Residence
from convmixer.training.trainer import Trainer


@dataclass
class Experiment:
    """All parts of a training; `convmixer.configs.building.build` makes it from configs.

    Attributes:
        values: the value of every key: plain values and names of options.
        given: the values that the user gave.
        dataset: the images and the names of their classes.
        train_split: the images that are trained on.
        valid_split: the images that are held out for validation; may be empty.
        model: the network, on the training device.
        trainer: the training loop.
        workers: the processes that train together.
        kernels: the path that the layers take.
        residence: where the images are kept while they are trained on.
        batches: makes batches of a split, in its order and not augmented.
        initial_weights: one line about the weights that training begins from; None if none were loaded.
        dynamic: labml's dynamic hyperparameters of the user's script, by key.
        own: the values that only the user's script can give: of its own keys, and its own options of our keys.
    """

    values: Mapping[str, Any]
    given: Mapping[str, Any]
    dataset: Dataset
    train_split: Split
    valid_split: Split
    model: nn.Module
    trainer: Trainer
    workers: Workers
    kernels: KernelPath
    residence: Residence
    batches: Callable[[Split], Batches]
    initial_weights: str | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    dynamic: Mapping[str, DynamicHyperParam] = field(default_factory=dict)

    def describe_data(self) -> dict[str, Any]:
        """Describe the training images for checkpoints: a resumed run must train on the same ones."""
        return {
            "name": self.dataset.name,
            "classes": list(self.dataset.classes),
            "train_images": self.trainer.train.n_images,
            "image_shape": list(self.dataset.train.images.shape[1:]),
            "mean": list(self.dataset.mean),
            "std": list(self.dataset.std),
        }
