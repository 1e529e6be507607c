"""The nested groups of keys: images, what is done to them, how weights are updated, checkpoints, tracking.

Each with its defaults, types, ranges and help, and the options that its parts can be.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import torch
from labml import lab
from labml.configs import BaseConfigs, option
from torch import nn

from convmixer.data import datasets, images, shapes
from convmixer.data.augmentation import MIXING, OPERATIONS
from convmixer.data.augmentation.randaugment import CHOICE_SETS
from convmixer.data.cifar import CifarName
from convmixer.data.datasets import Dataset
from convmixer.data.trees import is_tree
from convmixer.errors import UserError
from convmixer.keys import Knob
from convmixer.training import optimizers


class DataConfigs(BaseConfigs):
    """Where images come from."""

    dataset: Annotated[
        Dataset, Knob("auto: CIFAR-10, or shapes if no source has it; images if data.path is a tree")
    ] = "auto"
    path: Annotated[str | None, Knob("an image tree or .zip; a folder with CIFAR's files")] = None
    image_size: Annotated[int | None, Knob("resize images to this side", low=4, high=1024)] = None
    validation: Annotated[int, Knob("training images held out; 0: best is last", low=0)] = 5000
    resident: Annotated[bool | None, Knob("on the training device; none: if they fit, else from disk")] = None
    may_fall_back: Any = True  # set by the command, not a key


class AugmentConfigs(BaseConfigs):
    """What happens to training images."""

    ops: Annotated[list[str], Knob("operations, in this order", choices=(*OPERATIONS, *MIXING))] = [  # noqa: RUF012
        "translate",
        "flip",
    ]
    translate: Annotated[int, Knob("pixels of random shift, edges reflected", low=0)] = 4
    resized_crop_scale: Annotated[list[float], Knob("least and largest share of the area", low=0.01, high=1)] = [  # noqa: RUF012
        0.75,
        1.0,
    ]
    resized_crop_ratio: Annotated[list[float], Knob("least and largest width / height", low=0.1, high=10)] = [  # noqa: RUF012
        0.75,
        1.3333,
    ]
    randaugment_set: Annotated[str, Knob("timm's rand-inc1, or torchvision's", choices=tuple(CHOICE_SETS))] = (
        "increasing"
    )
    randaugment_ops: Annotated[int, Knob("on each image", low=1, high=20)] = 2
    randaugment_magnitude: Annotated[float, Knob("increasing: up to 10", low=0, high=30)] = 9.0
    randaugment_std: Annotated[float, Knob("of the magnitude", low=0, high=30)] = 0.5
    jitter: Annotated[float, Knob("brightness, contrast, colour: factors 1 -+ this", low=0, high=1)] = 0.4
    erasing: Annotated[float, Knob("share of images with an erased box", low=0, high=1)] = 0.25
    erasing_fill: Annotated[str, Knob("what the box becomes", choices=("noise", "mean"))] = "noise"
    cutout: Annotated[int, Knob("side of the erased square, pixels", low=1)] = 8
    mixup: Annotated[float, Knob("alpha of the shares' distribution", above=0, high=100)] = 0.5
    cutmix: Annotated[float, Knob("alpha of the shares' distribution", above=0, high=100)] = 0.5
    cutmix_share: Annotated[float, Knob("of images cut, the others mixed up", low=0, high=1)] = 0.5


class OptimizerConfigs(BaseConfigs):
    """How weights are updated."""

    optimizer: Annotated[torch.optim.Optimizer, Knob("Muon: on point-wise weights, AdamW on others")] = "AdamW"
    learning_rate: Annotated[float, Knob("the schedule's largest", above=0, high=100)] = 0.01
    weight_decay: Annotated[float, Knob("AdamW's is decoupled", low=0, high=100)] = 0.01
    decay_norms_and_biases: Annotated[bool, Knob("decay them as well")] = False
    betas: Annotated[list[float], Knob("AdamW's averages", low=0, high=0.99999)] = [0.9, 0.999]  # noqa: RUF012
    eps: Annotated[float, Knob("AdamW's epsilon", above=0, high=1)] = 1e-8
    momentum: Annotated[float, Knob("SGD's momentum, Nesterov's", low=0, high=0.9999)] = 0.9
    muon_learning_rate: Annotated[float, Knob("of the weights that are Muon's", above=0, high=100)] = 0.02
    norm_bias_factor: Annotated[float, Knob("learning rate of BatchNorm's biases", above=0, high=1000)] = 1.0
    model: nn.Module  # set by the experiment

    def __init__(self) -> None:
        super().__init__(_primary="optimizer")


class CheckpointConfigs(BaseConfigs):
    """When a run is saved, beside the end of each epoch."""

    minutes: Annotated[float | None, Knob("also so long after the last one", above=0, high=10**6)] = 10.0


class TrackingConfigs(BaseConfigs):
    """Where a run is recorded beside its folder."""

    app_url: Annotated[str | None, Knob("a labml server, http://host:5005/api/v1/TOKEN; $NAME: from environment")] = (
        None
    )


@option(DataConfigs.dataset, "auto")
def _auto(c: DataConfigs) -> Dataset:
    if c.path is not None:
        return _images(c) if is_tree(Path(c.path)) else _cifar10(c)
    # One of several that must train on the same: started by torchrun, or by a sweep.
    is_one_of_several = not {"TORCHELASTIC_RUN_ID", "CONVMIXER_STUDY"}.isdisjoint(os.environ)
    return datasets.auto(lab.get_data_path(), may_fall_back=c.may_fall_back and not is_one_of_several)


@option(DataConfigs.dataset, "cifar10")
def _cifar10(c: DataConfigs) -> Dataset:
    return _cifar(c, "cifar10")


@option(DataConfigs.dataset, "cifar100")
def _cifar100(c: DataConfigs) -> Dataset:
    return _cifar(c, "cifar100")


def _cifar(c: DataConfigs, name: CifarName) -> Dataset:
    """From `data.path` alone where it is given; else from the data folder, or downloaded to it."""
    if c.path is not None:
        return datasets.cifar(name, Path(c.path), may_download=False)
    return datasets.cifar(name, lab.get_data_path())


@option(DataConfigs.dataset, "images")
def _images(c: DataConfigs) -> Dataset:
    if c.path is None:
        raise UserError("data.dataset=images needs data.path=FOLDER (or a .zip)")
    return images.image_folder(Path(c.path), c.image_size, lab.get_data_path() / "cache")


@option(DataConfigs.dataset, "shapes")
def _shapes() -> Dataset:
    return shapes.shapes()


def _groups(c: OptimizerConfigs) -> list[dict]:
    groups = optimizers.parameter_groups(c.model, c.weight_decay, c.decay_norms_and_biases)
    return optimizers.faster_norm_biases(groups, c.model, c.learning_rate, c.norm_bias_factor)


@option(OptimizerConfigs.optimizer, "AdamW")
def _adamw(c: OptimizerConfigs) -> torch.optim.Optimizer:
    return optimizers.adamw(_groups(c), c.learning_rate, c.betas, c.eps)


@option(OptimizerConfigs.optimizer, "SGD")
def _sgd(c: OptimizerConfigs) -> torch.optim.Optimizer:
    return optimizers.sgd(_groups(c), c.learning_rate, c.momentum)


@option(OptimizerConfigs.optimizer, "Muon")
def _muon(c: OptimizerConfigs) -> torch.optim.Optimizer:
    matrices = optimizers.hidden_matrices(c.model)
    rates = (c.learning_rate, c.muon_learning_rate)
    return optimizers.MuonAndAdamW(_groups(c), matrices, *rates, c.weight_decay, c.betas, c.eps)
