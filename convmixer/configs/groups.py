"""The nested groups of keys: data, augmentation, optimizer, checkpoints, tracking.

Each key has its default, type, range and help here. The options that parts can be are in `options.py`.
"""

from typing import Annotated

import torch
from labml.configs import BaseConfigs
from torch import nn

from convmixer.configs.keys import Knob
from convmixer.data.augmentation import ALL_NAMES
from convmixer.data.augmentation.randaugment import CHOICE_SETS
from convmixer.data.datasets import Dataset
from convmixer.tracking.trackers import TRACKERS
from convmixer.training.optimizers import FIRST_WEIGHTS


class DataConfigs(BaseConfigs):
    """The images: where they come from, and how they are split."""

    dataset: Annotated[
        Dataset,
        Knob("data set; auto: images if data.path holds images, else CIFAR-10, or shapes if no source has it"),
    ] = "auto"
    path: Annotated[
        str | None, Knob("folder, .zip, .parquet or .tar of images; for CIFAR, a folder with its files")
    ] = None
    image_size: Annotated[
        int | None,
        Knob("resize images to this height and width, in pixels; none: only if sizes differ", low=4, high=1024),
    ] = None
    validation: Annotated[
        int | None,
        Knob(
            "number of training images held out for validation; none: 5000, or a tenth where those would be more than "
            "half, or the data's own; 0: no validation, so the last weights are tested",
            low=0,
        ),
    ] = None
    test: Annotated[
        float | None,
        Knob("part of the images kept for the test, if data.path has no test/; none: 0.1", above=0, high=0.9),
    ] = None
    resident: Annotated[bool | None, Knob("keep all images in the device's memory; none: if they fit")] = None


class AugmentConfigs(BaseConfigs):
    """The random changes to training images."""

    ops: Annotated[list[str], Knob("operations on training images, in this order", choices=ALL_NAMES)] = [  # noqa: RUF012
        "translate",
        "flip",
    ]
    translate: Annotated[
        int, Knob("largest random shift in pixels; edges are reflected", low=0, operation="translate")
    ] = 4
    resized_crop_scale: Annotated[
        list[float],
        Knob(
            "smallest and largest part of the image's area that is cut out", low=0.01, high=1, operation="resized_crop"
        ),
    ] = [  # noqa: RUF012
        0.75,
        1.0,
    ]
    resized_crop_ratio: Annotated[
        list[float],
        Knob("smallest and largest width / height of what is cut out", low=0.1, high=10, operation="resized_crop"),
    ] = [  # noqa: RUF012
        0.75,
        1.3333,
    ]
    randaugment_set: Annotated[
        str,
        Knob(
            "set of operations: timm's rand-inc1 or torchvision's", choices=tuple(CHOICE_SETS), operation="randaugment"
        ),
    ] = "increasing"
    randaugment_ops: Annotated[int, Knob("operations on each image", low=1, high=20, operation="randaugment")] = 2
    randaugment_magnitude: Annotated[
        float,
        Knob("strength of the operations; at most 10 in the increasing set", low=0, high=30, operation="randaugment"),
    ] = 9.0
    randaugment_std: Annotated[
        float, Knob("standard deviation of the magnitude", low=0, high=30, operation="randaugment")
    ] = 0.5
    augmix_severity: Annotated[
        int, Knob("largest strength of AugMix's operations", low=1, high=10, operation="augmix")
    ] = 3
    jitter: Annotated[
        float,
        Knob(
            "brightness, contrast and colour change by a random factor of 1 -+ this", low=0, high=1, operation="jitter"
        ),
    ] = 0.4
    erasing: Annotated[float, Knob("probability that a box is erased", low=0, high=1, operation="erasing")] = 0.25
    erasing_fill: Annotated[
        str, Knob("what the erased box is filled with", choices=("noise", "mean"), operation="erasing")
    ] = "noise"
    cutout: Annotated[int, Knob("side of the erased square in pixels", low=1, operation="cutout")] = 8
    small_crop: Annotated[
        float, Knob("height and width of the part, as a share of the image's", above=0, high=1, operation="small_crop")
    ] = 0.75
    mixup: Annotated[
        float, Knob("alpha of the Beta distribution of mixing shares", above=0, high=100, operation="mixup")
    ] = 0.5
    cutmix: Annotated[
        float, Knob("alpha of the Beta distribution of cut areas", above=0, high=100, operation="cutmix")
    ] = 0.5
    cutmix_share: Annotated[
        float, Knob("share of images for cutmix, if mixup is also used", low=0, high=1, operation="cutmix")
    ] = 0.5
    off_for: Annotated[
        float,
        Knob(
            "share of the training, at its end, with resized crops, shifts and flips alone; 0.1: the last tenth",
            low=0,
            high=1,
        ),
    ] = 0.0


class OptimizerConfigs(BaseConfigs):
    """The optimizer, which updates the weights."""

    optimizer: Annotated[
        torch.optim.Optimizer, Knob("optimizer; Muon uses AdamW for all but the point-wise weights")
    ] = "AdamW"
    learning_rate: Annotated[float, Knob("largest learning rate of the schedule", above=0, high=100)] = 0.01
    weight_decay: Annotated[float, Knob("weight decay; decoupled in AdamW and Muon", low=0, high=100)] = 0.01
    decay_norms_and_biases: Annotated[bool, Knob("also decay BatchNorm's parameters and biases")] = False
    first_weights: Annotated[str, Knob("the filters of the first convolution", choices=FIRST_WEIGHTS)] = "decayed"
    betas: Annotated[list[float], Knob("AdamW's decay rates of its two averages", low=0, high=0.99999)] = [0.9, 0.999]  # noqa: RUF012
    eps: Annotated[float, Knob("AdamW's epsilon", above=0, high=1)] = 1e-8
    momentum: Annotated[float, Knob("SGD's Nesterov momentum", low=0, high=0.9999)] = 0.9
    muon_learning_rate: Annotated[
        float, Knob("largest learning rate of the weights that Muon updates", above=0, high=100)
    ] = 0.02
    norm_bias_factor: Annotated[
        float, Knob("multiplies the learning rate of BatchNorm's biases", above=0, high=1000)
    ] = 1.0
    model: nn.Module  # set by the experiment

    def __init__(self) -> None:
        super().__init__(_primary="optimizer")


class CheckpointConfigs(BaseConfigs):
    """The checkpoints that are saved within an epoch. One is always saved at its end."""

    minutes: Annotated[
        float | None,
        Knob("also save this many minutes after the last checkpoint; none: only after epochs", above=0, high=10**6),
    ] = 10.0


class TrackingConfigs(BaseConfigs):
    """The places that record a run besides its folder."""

    app_url: Annotated[
        str | None, Knob("labml server, http://host:5005/api/v1/TOKEN; $NAME is read from the environment")
    ] = None
    also: Annotated[list[str], Knob("other trackers that the run is sent to while it trains", choices=TRACKERS)] = []  # noqa: RUF012
