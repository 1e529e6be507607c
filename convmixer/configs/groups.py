"""The nested groups of keys: images, what is done to them, how weights are updated, checkpoints, tracking.

Each key with its default, type, range and help. The options that parts can be are in `options.py`.
"""

from typing import Annotated

import torch
from labml.configs import BaseConfigs
from torch import nn

from convmixer.configs.keys import Knob
from convmixer.data.augmentation import ALL_NAMES
from convmixer.data.augmentation.randaugment import CHOICE_SETS
from convmixer.data.datasets import Dataset


class DataConfigs(BaseConfigs):
    """Where images come from."""

    dataset: Annotated[
        Dataset, Knob("auto: CIFAR-10, or shapes if no source has it; images if data.path is a tree")
    ] = "auto"
    path: Annotated[str | None, Knob("an image tree or .zip; a folder with CIFAR's files")] = None
    image_size: Annotated[int | None, Knob("resize images to this side", low=4, high=1024)] = None
    validation: Annotated[int, Knob("training images held out; 0: best is last", low=0)] = 5000
    resident: Annotated[bool | None, Knob("on the training device; none: if they fit, else from disk")] = None


class AugmentConfigs(BaseConfigs):
    """What happens to training images."""

    ops: Annotated[list[str], Knob("operations, in this order", choices=ALL_NAMES)] = [  # noqa: RUF012
        "translate",
        "flip",
    ]
    translate: Annotated[int, Knob("pixels of random shift, edges reflected", low=0, operation="translate")] = 4
    resized_crop_scale: Annotated[
        list[float], Knob("least and largest share of the area", low=0.01, high=1, operation="resized_crop")
    ] = [  # noqa: RUF012
        0.75,
        1.0,
    ]
    resized_crop_ratio: Annotated[
        list[float], Knob("least and largest width / height", low=0.1, high=10, operation="resized_crop")
    ] = [  # noqa: RUF012
        0.75,
        1.3333,
    ]
    randaugment_set: Annotated[
        str, Knob("timm's rand-inc1, or torchvision's", choices=tuple(CHOICE_SETS), operation="randaugment")
    ] = "increasing"
    randaugment_ops: Annotated[int, Knob("on each image", low=1, high=20, operation="randaugment")] = 2
    randaugment_magnitude: Annotated[float, Knob("increasing: up to 10", low=0, high=30, operation="randaugment")] = 9.0
    randaugment_std: Annotated[float, Knob("of the magnitude", low=0, high=30, operation="randaugment")] = 0.5
    jitter: Annotated[
        float, Knob("brightness, contrast, colour: factors 1 -+ this", low=0, high=1, operation="jitter")
    ] = 0.4
    erasing: Annotated[float, Knob("share of images with an erased box", low=0, high=1, operation="erasing")] = 0.25
    erasing_fill: Annotated[str, Knob("what the box becomes", choices=("noise", "mean"), operation="erasing")] = "noise"
    cutout: Annotated[int, Knob("side of the erased square, pixels", low=1, operation="cutout")] = 8
    mixup: Annotated[float, Knob("alpha of the shares' distribution", above=0, high=100, operation="mixup")] = 0.5
    cutmix: Annotated[float, Knob("alpha of the shares' distribution", above=0, high=100, operation="cutmix")] = 0.5
    cutmix_share: Annotated[float, Knob("of images cut, the others mixed up", low=0, high=1, operation="cutmix")] = 0.5


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
