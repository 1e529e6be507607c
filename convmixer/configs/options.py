"""The options that parts can be, each with a function that builds it: `data.dataset=cifar10`, `schedule=cosine`.

To add one, write a function for it here, or in your own script: `@option(Configs.schedule, "mine")`.
"""

import os
from pathlib import Path

import torch
from labml import lab
from labml.configs import BaseConfigs, option
from torch import nn

from convmixer.configs.groups import AugmentConfigs, CheckpointConfigs, DataConfigs, OptimizerConfigs, TrackingConfigs
from convmixer.configs.schema import Configs
from convmixer.data import datasets, images, shapes
from convmixer.data.augmentation import random_seed
from convmixer.data.cifar import CifarName
from convmixer.data.datasets import Dataset, Split
from convmixer.data.sources import is_source
from convmixer.errors import UserError
from convmixer.model import layers
from convmixer.training import optimizers, schedules
from convmixer.training.schedules import Schedule
from convmixer.training.trainer import Trainer


@option(Configs.data, "data")
def _data(c: Configs) -> BaseConfigs:
    return c._fill("data", DataConfigs())


@option(Configs.checkpoint, "checkpoint")
def _checkpoint(c: Configs) -> BaseConfigs:
    return c._fill("checkpoint", CheckpointConfigs())


@option(Configs.tracking, "tracking")
def _tracking(c: Configs) -> BaseConfigs:
    return c._fill("tracking", TrackingConfigs())


@option(Configs.augment, "augment")
def _augment(c: Configs) -> BaseConfigs:
    return c._fill("augment", AugmentConfigs())


@option([Configs.train_split, Configs.valid_split], "splits")
def _splits(c: Configs) -> tuple[Split, Split]:
    return datasets.train_and_valid(c.data.dataset, c.data.validation, c.seed)


@option(Configs.n_classes, "from_data")
def _n_classes(c: Configs) -> int:
    return len(c.data.dataset.classes)


@option(Configs.in_channels, "from_data")
def _in_channels(c: Configs) -> int:
    return c.data.dataset.train.images.shape[3]


@option(Configs.layer, "conv_mixer_layer")
def _layer(c: Configs) -> nn.Module:
    return layers.ConvMixerLayer(c.d_model, c.kernel_size, activation=c.activation)


@option(Configs.model, "conv_mixer")
def _model(c: Configs) -> nn.Module:
    torch.manual_seed(random_seed(c.seed, "model"))
    patch_embeddings = layers.PatchEmbeddings(c.d_model, c.patch_size, c.in_channels, activation=c.activation)
    head = layers.ClassificationHead(c.d_model, c.n_classes)
    return layers.ConvMixer(c.layer, c.n_layers, patch_embeddings, head)


@option(Configs.optimizer, "optimizer")
def _optimizer(c: Configs) -> BaseConfigs:
    group = c._fill("optimizer", OptimizerConfigs())
    group.model = c.model
    return group


@option(Configs.schedule, "paper")
def _paper() -> Schedule:
    return schedules.paper


@option(Configs.schedule, "cosine")
def _cosine() -> Schedule:
    return schedules.cosine


@option(Configs.schedule, "trapezoid")
def _trapezoid() -> Schedule:
    return schedules.trapezoid


@option(Configs.schedule, "constant")
def _constant() -> Schedule:
    return schedules.constant


@option(Configs.trainer, "trainer")
def _trainer() -> type[Trainer]:
    return Trainer


@option(DataConfigs.dataset, "auto")
def _auto(c: DataConfigs) -> Dataset:
    if c.path is not None:
        return _images(c) if is_source(Path(c.path)) else _cifar10(c)
    # Workers of torchrun and trials of a sweep must all train on the same data.
    is_one_of_several = not {"TORCHELASTIC_RUN_ID", "CONVMIXER_STUDY"}.isdisjoint(os.environ)
    return datasets.auto(lab.get_data_path(), may_fall_back=not is_one_of_several)


@option(DataConfigs.dataset, "cifar10")
def _cifar10(c: DataConfigs) -> Dataset:
    return _cifar(c, "cifar10")


@option(DataConfigs.dataset, "cifar100")
def _cifar100(c: DataConfigs) -> Dataset:
    return _cifar(c, "cifar100")


def _cifar(c: DataConfigs, name: CifarName) -> Dataset:
    """Read it from `data.path` alone where that is given; else from the data folder, or download it to there."""
    if c.path is not None:
        return datasets.cifar(name, Path(c.path), may_download=False)
    return datasets.cifar(name, lab.get_data_path())


@option(DataConfigs.dataset, "images")
def _images(c: DataConfigs) -> Dataset:
    if c.path is None:
        raise UserError("data.dataset=images needs data.path=FOLDER (a folder of images, or a .zip)")
    return images.image_folder(Path(c.path), c.image_size, lab.get_data_path() / "cache", c.test)


@option(DataConfigs.dataset, "shapes")
def _shapes() -> Dataset:
    return shapes.shapes()


def _groups(c: OptimizerConfigs) -> list[dict]:
    groups = optimizers.parameter_groups(c.model, c.weight_decay, c.decay_norms_and_biases, c.first_weights)
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
