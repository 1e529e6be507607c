"""Builds an `Experiment` from configs: its parts are made, put on the training device, wired and checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from labml.internal.configs.dynamic_hyperparam import DynamicHyperParam
from torch import Tensor, nn

from convmixer.configs.batch_sizes import batch_norm_is_global, batch_size, images_at_once, size_factor
from convmixer.configs.checks import check_changes_file, check_configs
from convmixer.configs.keys import keys_of
from convmixer.configs.own_parts import own_parts
from convmixer.console import one_line
from convmixer.data.augmentation import Augmentation, random_seed
from convmixer.data.batches import Batches
from convmixer.data.datasets import Split
from convmixer.errors import UserError
from convmixer.experiment.experiment import Experiment
from convmixer.model.initialization import apply_starts
from convmixer.model.kernels import Path as KernelPath
from convmixer.model.kernels import choose_path
from convmixer.tracking.app_server import complete_url
from convmixer.tracking.runs import Run
from convmixer.trained.initial_weights import load_initial_weights
from convmixer.training import memory
from convmixer.training.averaging import AveragedWeights
from convmixer.training.distributed.global_batch_norm import use_global_batch_norm
from convmixer.training.distributed.workers import ALONE, Workers, local_device
from convmixer.training.hardware import choose_device, choose_precision, keep_freed_memory
from convmixer.training.metrics import METRICS
from convmixer.training.residence import Residence, choose_residence
from convmixer.training.stochastic_depth import StochasticDepth, check_layer
from convmixer.training.timing import steps_in
from convmixer.training.trainer import Trainer

if TYPE_CHECKING:
    from convmixer.configs.schema import Configs

LOOKED_AT = 5000 * 32 * 32  # pixels that whitening looks at, of images that have not been augmented


def build(c: "Configs", workers: Workers = ALONE, resumed: Run | None = None) -> Experiment:
    """Build and check all parts of an experiment, before the run gets its folder.

    Args:
        workers: the processes that train together.
        resumed: the run to resume, if any; if it has a checkpoint, `pretrained` weights are not loaded.

    Raises:
        UserError: the data are not available, values do not fit together, or there is too little memory.
    """
    keep_freed_memory()
    check_configs(c, workers)
    if c.tracking.app_url:
        complete_url(c.tracking.app_url)
    if c.changes and not resumed:
        if not Path(c.changes).is_file():
            raise UserError(f"changes={c.changes}: there is no such file")
        check_changes_file(Path(c.changes), keys_of(type(c)))
    initial_weights = None
    if c.pretrained and not (resumed and resumed.checkpoint("last").exists()):
        sizes = {"n_classes": c.n_classes, "in_channels": c.in_channels}
        initial_weights = load_initial_weights(c.pretrained, c.model, c.values() | sizes, c.data.dataset.classes)
    device = local_device(choose_device(c.device))
    residence = choose_residence(c.data.resident, c.data.dataset.train.bytes, device)
    with _memory_error_explained(residence):
        experiment = _wire(c, workers, device, residence)
    experiment.initial_weights = initial_weights
    experiment.own = own_parts(c.values(), keys_of(type(c)))
    experiment.dynamic = _dynamic(c)
    c.make_groups()
    if c.minutes is not None and c.values()["steps"] is None:
        experiment.trainer.total_steps = c.steps = _steps_in_minutes(experiment.trainer, c.minutes)
    return experiment


@contextmanager
def _memory_error_explained(residence: Residence) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        remedy = "data.resident=false leaves the images on disk" if residence.is_resident else "give a smaller network"
        raise UserError(f"out of memory before the first update: {remedy} ({one_line(error)})") from None


def _steps_in_minutes(trainer: Trainer, minutes: float) -> int:
    try:
        return steps_in(trainer, minutes * 60)
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        raise UserError(memory.advice(trainer, error)) from None


def _wire(c: "Configs", workers: Workers, device: torch.device, residence: Residence) -> Experiment:
    """Move the parts to the device, change them as the keys say, and connect them."""
    workers.use(device)
    # Before the optimizer is made: it must hold the parameters that are on the device.
    c.model.to(device=device, memory_format=torch.channels_last)
    train = train_batches(c, c.train_split, device, workers, residence.is_resident)
    valid = (
        plain_batches(c, c.valid_split, device, workers, residence.is_resident) if len(c.valid_split.labels) else None
    )
    _prepare_model(c, train)
    precision = choose_precision(c.precision, device)
    kernels = _kernels(c, device, precision, workers)
    optimizer = _scaled_optimizer(c, workers)
    average = AveragedWeights(c.model, c.ema) if c.ema else None
    is_global = batch_norm_is_global(c, workers)
    if is_global:  # last, as the calls above look for ordinary BatchNorm modules
        use_global_batch_norm(c.model, workers, device)
    trainer = c.trainer(
        c.model,
        optimizer,
        c.schedule,
        train,
        valid,
        total_steps=_total_steps(c, len(train)),
        label_smoothing=c.label_smoothing,
        gradient_clip=c.gradient_clip,
        precision=precision,
        compile_mode=c.compile_mode if c.compile else None,
        cuda_graph=c.cuda_graph,
        micro_batch_size=images_at_once(c, workers),
        stochastic_depth=_stochastic_depth(c, train),
        average=average,
        workers=workers,
        share_statistics=not is_global,
        spikes_diverge=c.on_nan == "rewind",
        metrics={name: METRICS[name] for name in c.metrics if name in METRICS},
    )
    plain = partial(plain_batches, c, device=device, resident=residence.is_resident)
    splits = (c.train_split, c.valid_split)
    return Experiment(
        c.values(), c.given(), c.data.dataset, *splits, c.model, trainer, workers, kernels, residence, plain
    )


def train_batches(
    c: "Configs", split: Split, device: torch.device, workers: Workers = ALONE, resident: bool = True
) -> Batches:
    """Make shuffled, augmented batches of a split; under torchrun, this worker's part of each batch."""
    dataset = c.data.dataset
    keys = {name: getattr(c.augment, name) for name in dir(c.augment)}
    augmentation = Augmentation.of(keys, dataset, c.seed, len(split.labels), c.patch_size)
    parts = partial(workers.parts, at_once=images_at_once(c, workers))
    whole = batch_size(c, workers)
    return Batches(split, dataset, whole, device, c.seed, augmentation, c.n_classes, resident, parts)


def plain_batches(
    c: "Configs", split: Split, device: torch.device, workers: Workers = ALONE, resident: bool = True
) -> Batches:
    """Make batches of a split in its own order, not augmented, normalised as the training images are."""
    return Batches(split, c.data.dataset, c.valid_batch_size, device, resident=resident, parts=workers.parts)


def _dynamic(c: "Configs") -> dict[str, DynamicHyperParam]:
    """Return labml's dynamic hyperparameters among the parts, by key."""
    names = [name for name, key in keys_of(type(c)).items() if key.prototype]
    found = {name: attrgetter(name)(c) for name in names}
    for name, part in found.items():
        part.register(name)  # one that an option made is not yet
    return found


def _total_steps(c: "Configs", steps_per_epoch: int) -> int:
    """Return the number of updates; 0 if it is not known yet, as `minutes` must be measured first."""
    if c.values()["steps"] is not None:
        return c.values()["steps"]
    return c.epochs * steps_per_epoch if c.minutes is None else 0


def _prepare_model(c: "Configs", train: Batches) -> None:
    """Set BatchNorm's momentum and the initial weights, before training; not done when trained weights are loaded."""
    for module in c.model.modules():
        if isinstance(module, nn.BatchNorm2d) and c.batch_norm_momentum is not None:
            module.momentum = c.batch_norm_momentum
    if c.starts:
        images = train.raw(_rows_looked_at(train, c.seed))
        apply_starts(c.model, c.starts, train.normalise(images), random_seed(c.seed, "starts"))


def _rows_looked_at(train: Batches, seed: int) -> Tensor:
    """Draw the training images that initial weights may look at; an image tree's first ones are all of one class."""
    n = min(train.n_images, max(1, LOOKED_AT // train.pixels))
    generator = torch.Generator().manual_seed(random_seed(seed, "images looked at"))
    return torch.randperm(train.n_images, generator=generator)[:n].sort().values


def _stochastic_depth(c: "Configs", train: Batches) -> StochasticDepth | None:
    if not c.stochastic_depth:
        return None
    check_layer(c.model)
    return StochasticDepth(c.stochastic_depth, c.n_layers, c.seed, train)


def _kernels(c: "Configs", device: torch.device, precision: torch.dtype, workers: Workers) -> KernelPath:
    path = choose_path(c.model, c.kernels, device, precision)
    if path.name != "torch" and batch_norm_is_global(c, workers):
        return path._replace(note="only the depth-wise convolution, as BatchNorm is over all workers")
    return path


def _scaled_optimizer(c: "Configs", workers: Workers) -> torch.optim.Optimizer:
    """Scale the learning rates linearly with the batch (Goyal et al., arXiv 1706.02677) and return the optimizer."""
    for group in c.optimizer.param_groups:
        group["lr"] *= size_factor(c, workers)
    return c.optimizer
