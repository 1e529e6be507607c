"""How an experiment's parts become batches and a trainer."""

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from convmixer.batch_sizes import batch_norm_is_spread, batch_size, images_at_once, size_factor
from convmixer.data.augmentation import Augmentation
from convmixer.data.batches import Batches
from convmixer.data.datasets import Dataset, Split
from convmixer.model.initialization import apply_starts
from convmixer.model.kernels import Path, choose_path
from convmixer.training.averaging import AveragedWeights
from convmixer.training.distributed.workers import ALONE, Workers, local_device
from convmixer.training.hardware import choose_device, choose_precision
from convmixer.training.residence import choose_residence
from convmixer.training.stochastic_depth import StochasticDepth, check_layer
from convmixer.training.trainer import Trainer

if TYPE_CHECKING:
    from convmixer.configs import Configs

LOOKED_AT = 5000 * 32 * 32  # pixels of images that have not been augmented, by whitening


def train_batches(c: "Configs", split: Split, device: torch.device) -> Batches:
    """Shuffled, augmented batches of a split; under torchrun, this worker's part of each."""
    dataset = c.data.dataset
    augmentation = Augmentation.of(c.augment, dataset, c.seed, len(split.labels))
    parts = partial(c.workers.parts, at_once=images_at_once(c))
    resident = _is_resident(c)
    return Batches(split, dataset, batch_size(c), device, c.seed, augmentation, c.n_classes, resident, parts)


def plain_batches(
    c: "Configs", dataset: Dataset, split: Split, device: torch.device, workers: Workers = ALONE
) -> Batches:
    """A split in its own order, as it is, normalised as `dataset` says."""
    return Batches(split, dataset, c.valid_batch_size, device, resident=_is_resident(c), parts=workers.parts)


def _is_resident(c: "Configs") -> bool:
    return c.residence_in_use is None or c.residence_in_use.is_resident


def _total_steps(c: "Configs", steps_per_epoch: int) -> int:
    """0 where `minutes` are still to be measured into `steps`."""
    if c._values["steps"] is not None:
        return c._values["steps"]
    return c.epochs * steps_per_epoch if c.minutes is None else 0


def _prepare_model(c: "Configs", train: Batches) -> None:
    """What is done to a model before it is trained, and not when it is rebuilt for its weights."""
    for module in c.model.modules():
        if isinstance(module, nn.BatchNorm2d) and c.batch_norm_momentum is not None:
            module.momentum = c.batch_norm_momentum
    if c.starts:
        first = train.raw(torch.arange(min(train.n_images, max(1, LOOKED_AT // train.pixels))))
        apply_starts(c.model, c.starts, train.normalise(first), c.seed)


def _stochastic_depth(c: "Configs", train: Batches) -> StochasticDepth | None:
    if not c.stochastic_depth:
        return None
    check_layer(c.model)
    return StochasticDepth(c.stochastic_depth, c.n_layers, c.seed, train)


def _kernels(c: "Configs", device: torch.device, precision: torch.dtype) -> Path:
    path = choose_path(c.model, c.kernels, device, precision)
    if path.name != "torch" and batch_norm_is_spread(c):
        return path._replace(note="depth-wise convolution alone, as BatchNorm is over all workers")
    return path


def _scaled_optimizer(c: "Configs") -> torch.optim.Optimizer:
    """The learning rates are for `train_batch_size` images; linear scaling: Goyal et al. (arXiv 1706.02677)."""
    for group in c.optimizer.param_groups:
        group["lr"] *= size_factor(c)
    return c.optimizer


def trainer(c: "Configs") -> Trainer:
    """The trainer of an experiment, of its parts; they are moved to the device and changed as the keys say."""
    device = local_device(choose_device(c.device))
    c.workers.use(device)
    # Before the optimizer is made: it must hold the parameters that are on the device.
    c.model.to(device=device, memory_format=torch.channels_last)
    c.residence_in_use = choose_residence(c.data.resident, c.data.dataset.train.bytes, device)
    train = train_batches(c, c.train_split, device)
    _prepare_model(c, train)
    precision = choose_precision(c.precision, device)
    c.kernels_in_use = _kernels(c, device, precision)
    optimizer = _scaled_optimizer(c)
    average = AveragedWeights(c.model, c.ema) if c.ema else None
    if batch_norm_is_spread(c):  # last: the others want to know a BatchNorm when they see one
        c.workers.spread_batch_norm(c.model, device)
    return Trainer(
        c.model,
        optimizer,
        c.schedule,
        train,
        plain_batches(c, c.data.dataset, c.valid_split, device, c.workers) if c.data.validation else None,
        total_steps=_total_steps(c, len(train)),
        label_smoothing=c.label_smoothing,
        gradient_clip=c.gradient_clip,
        precision=precision,
        compile_mode=c.compile_mode if c.compile else None,
        micro_batch_size=images_at_once(c),
        stochastic_depth=_stochastic_depth(c, train),
        average=average,
        workers=c.workers,
        share_statistics=not batch_norm_is_spread(c),
        spikes_diverge=c.on_nan == "rewind",
    )
