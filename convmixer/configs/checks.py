"""Checks values against each other and against the data, before a run begins."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from convmixer.configs.batch_sizes import batch_norm_is_global, fewest_at_once, some_have_none
from convmixer.configs.keys import Key, keys_of
from convmixer.configs.overrides import check
from convmixer.console import shortened
from convmixer.data.augmentation import MIXING, Augmentation
from convmixer.data.augmentation.crops import SmallCrop
from convmixer.data.augmentation.randaugment import LARGEST_MAGNITUDE
from convmixer.errors import UserError
from convmixer.project import FOLDER_NAME, is_folder_name
from convmixer.tracking.app_server import wrong_url
from convmixer.tracking.live_changes import is_live, is_strength, read_changes
from convmixer.tracking.trackers import check_installed
from convmixer.training.distributed.workers import ALONE, Workers
from convmixer.training.hardware import choose_device, choose_precision

if TYPE_CHECKING:
    from convmixer.configs.schema import Configs

GRAPHED_OPTIMIZERS = ("AdamW", "SGD", "Muon")  # their states begin with zeros and don't wait for the GPU


def check_configs(c: "Configs", workers: Workers = ALONE) -> None:
    """Check that all values can work together.

    Raises:
        UserError: some cannot; the message is one line.
    """
    choose_precision(c.precision, choose_device(c.device))
    messages = (check(c) for check in CHECKS)
    message = next(filter(None, messages), None)
    message = message or _sizes(c, workers) or _workers(c, workers) or _cuda_graph(c, workers)
    if message:
        raise UserError(f"overrides: {message}")


def check_live(c: "Configs", changed: Collection[str]) -> None:
    """Check values that are changed while a run trains: strengths of augmentation must fit the images and each other.

    Raises:
        UserError: they do not; the message is one line.
    """
    message = _augmentation(c) if any(map(is_strength, changed)) else None
    if message:
        raise UserError(f"overrides: {message}")


def check_changes_file(file: Path, keys: Mapping[str, Key]) -> None:
    """Check the changes that `set` made in a run, before they are made again.

    Raises:
        UserError: the file is damaged, or a value is wrong or can't be changed while a run trains.
    """
    for change in read_changes(file):
        check({change.key: change.value}, keys, str(file))
        if not (is_live(change.key) or keys[change.key].prototype):
            raise UserError(f"{file}: {change.key} can't be changed while a run trains")


def _name(c: "Configs") -> str | None:
    if c.name is not None and not is_folder_name(c.name):
        return f"name={shortened(c.name)} is wrong, expected {FOLDER_NAME}"
    return None


def _app_url(c: "Configs") -> str | None:
    return c.tracking.app_url and wrong_url(c.tracking.app_url)


def _trackers(c: "Configs") -> str | None:
    check_installed(c.tracking.also)
    twice = sorted({name for name in c.tracking.also if c.tracking.also.count(name) > 1})
    return f"tracking.also names {', '.join(twice)} twice" if twice else None


def _sizes(c: "Configs", workers: Workers) -> str | None:
    height, width = c.data.dataset.train.images.shape[1:3]
    p = c.patch_size
    if height % p or width % p:
        fitting = [d for d in range(1, min(height, width) + 1) if height % d == width % d == 0]
        nearest = min(fitting, key=lambda d: abs(d - p))
        return f"patch_size={p} does not divide images of {height}x{width}; {nearest} does"
    if "small_crop" in c.augment.ops:
        height, width = SmallCrop(c.augment.small_crop, p).shape(height, width)
    shares = 1 if workers.is_alone or batch_norm_is_global(c, workers) else workers.world_size
    if height == width == p and fewest_at_once(c, workers) // shares <= 1:
        sizes = "train_batch_size or micro_batch_size" if c.micro_batch_size else "train_batch_size"
        return f"batch normalisation can't train on one image that is one patch: give another patch_size or {sizes}"
    return None


def _classes(c: "Configs") -> str | None:
    there = len(c.data.dataset.classes)
    if c.n_classes < there:
        return f"n_classes={c.n_classes} is less than the {there} classes of {c.data.dataset.name}"
    channels = c.data.dataset.train.images.shape[3]
    if c.in_channels != channels:
        return f"in_channels={c.in_channels}, but the images have {channels}"
    return None


def _split(c: "Configs") -> str | None:
    if c.final_weights == "best" and c.data.validation == 0 and "final_weights" in c.given():
        return "final_weights=best needs a validation split, but data.validation=0"
    if c.data.test is not None and "data.test" in c.given() and c.data.dataset.has_own_test:
        return f"data.test={c.data.test:g} is given, but {c.data.dataset.name} has test images of its own"
    return None


def _augmentation(c: "Configs") -> str | None:
    ops, size = c.augment.ops, min(c.data.dataset.train.images.shape[1:3])
    twice = sorted({op for op in ops if ops.count(op) > 1})
    if twice:
        return f"augment.ops names {', '.join(twice)} twice"
    for name in ("translate", "cutout"):
        if name in ops and getattr(c.augment, name) >= size:
            return f"augment.{name}={getattr(c.augment, name)} does not fit images of {size} pixels"
    checks = (_unused_augmentation, _wrong_augmentation, _small_crop, _mixing, _turned_off)
    return next(filter(None, (check(c) for check in checks)), None)


def _unused_augmentation(c: "Configs") -> str | None:
    """Return a message if a value was given for an operation that is not among `augment.ops`."""
    keys = keys_of(type(c))
    for name in c.given():
        operation = keys[name].knob.operation
        if operation not in (None, *c.augment.ops):
            return f"{name} is given, but augment.ops does not name {operation}"
    return None


def _wrong_augmentation(c: "Configs") -> str | None:
    augment = c.augment
    for name in ("resized_crop_scale", "resized_crop_ratio"):
        limits = getattr(augment, name)
        if len(limits) != 2 or limits[0] > limits[1]:
            return f"augment.{name}={limits} is wrong, expected the smallest and the largest, as [0.75,1]"
    chosen, largest = augment.randaugment_set, LARGEST_MAGNITUDE[augment.randaugment_set]
    if "randaugment" in augment.ops and augment.randaugment_magnitude > largest:
        return (
            f"augment.randaugment_magnitude={augment.randaugment_magnitude:g} is too large: "
            f"with augment.randaugment_set={chosen} it goes up to {largest}"
        )
    coloured = {"randaugment", "trivial_augment", "augmix", "three_augment", "jitter"} & set(augment.ops)
    if coloured and c.in_channels != 3:
        return f"augment.ops names {min(coloured)}, which takes images of 3 channels, not {c.in_channels}"
    return None


def _small_crop(c: "Configs") -> str | None:
    ops = c.augment.ops
    if "small_crop" not in ops:
        return None
    after = [op for op in ops[ops.index("small_crop") + 1 :] if op not in MIXING]
    if after:
        return f"augment.ops names {after[0]} after small_crop, which must be last, or before mixup and cutmix"
    return None


def _mixing(c: "Configs") -> str | None:
    ops = c.augment.ops
    mixing = [op for op in ops if op in MIXING]
    if not mixing:
        return None
    if mixing != ops[-len(mixing) :]:
        return f"augment.ops: {' and '.join(mixing)} must be last, to mix images that are finished"
    if "augment.cutmix_share" in c.given() and "mixup" not in ops:
        return "augment.cutmix_share is given, but augment.ops names only cutmix, not mixup"
    return None


def _turned_off(c: "Configs") -> str | None:
    if not c.augment.off_for:
        return None
    augmentation = Augmentation.of({name: getattr(c.augment, name) for name in dir(c.augment)}, c.data.dataset, 0, 1)
    if augmentation.turned_off:
        return None
    named = f"only {', '.join(augmentation.names)}, which stays on" if augmentation.names else "nothing"
    return f"augment.off_for={c.augment.off_for:g} turns nothing off: augment.ops names {named}"


def _optimizer(c: "Configs") -> str | None:
    betas = c.values()["optimizer.betas"]
    if len(betas) != 2:
        return f"optimizer.betas={betas} is wrong, expected two numbers, as [0.9,0.999]"
    return None


def _micro_batch(c: "Configs") -> str | None:
    whole, part = c.train_batch_size, c.micro_batch_size
    if part is None or whole % part == 0:
        return None
    if part > whole:
        return f"micro_batch_size={part} is more than train_batch_size={whole}"
    nearest = min((n for n in range(1, whole + 1) if whole % n == 0), key=lambda n: abs(n - part))
    return f"micro_batch_size={part} does not divide train_batch_size={whole}; {nearest} does"


def _compile(c: "Configs") -> str | None:
    if "compile_mode" in c.given() and not c.compile:
        return f"compile_mode={c.compile_mode} is given, but compile is false"
    if c.compile and c.compile_mode == "reduce-overhead" and c.micro_batch_size:
        return (
            "compile_mode=reduce-overhead and micro_batch_size exclude each other: "
            "the parts of a batch would share the memory of a CUDA graph"
        )
    return None


def _cuda_graph(c: "Configs", workers: Workers) -> str | None:
    if not c.cuda_graph:
        return None
    device = choose_device(c.device)
    if device.type != "cuda":
        return f"cuda_graph=true needs a GPU (CUDA), not device={device}"
    if choose_precision(c.precision, device) is torch.float16:
        return "cuda_graph=true does not work with precision=float16, whose loss scaling waits for the GPU"
    if not workers.is_alone:
        return "cuda_graph=true works in one process, not under torchrun"
    if c.compile and c.compile_mode == "reduce-overhead":
        return "cuda_graph=true and compile_mode=reduce-overhead exclude each other: both record CUDA graphs"
    if c.values()["optimizer.optimizer"] not in GRAPHED_OPTIMIZERS:
        return f"cuda_graph=true works with optimizer.optimizer={', '.join(GRAPHED_OPTIMIZERS)}"
    return None


def _starts(c: "Configs") -> str | None:
    if c.pretrained and c.starts:
        return f"pretrained={c.pretrained} and starts={','.join(c.starts)} exclude each other: both set initial weights"
    twice = sorted({name for name in c.starts if c.starts.count(name) > 1})
    if twice:
        return f"starts names {', '.join(twice)} twice"
    if {"covariance", "impulse"} <= set(c.starts):
        return "starts=covariance and starts=impulse both set the depth-wise filters: give only one of them"
    return None


def _metrics(c: "Configs") -> str | None:
    twice = sorted({name for name in c.metrics if c.metrics.count(name) > 1})
    return f"metrics names {', '.join(twice)} twice" if twice else None


def _workers(c: "Configs", workers: Workers) -> str | None:
    if workers.is_alone:
        return None
    if c.minutes is not None:
        return "minutes works in one process: under torchrun, give epochs or steps"
    if c.compile:
        return "compile=true works in one process, not under torchrun"
    held_out = len(c.valid_split.labels)
    if 0 < held_out < workers.world_size:
        return f"data.validation={held_out} is too small: each of the {workers.world_size} workers needs an image"
    if c.batch_norm_over == "worker" and some_have_none(c, workers):
        return (
            f"batch_norm_over=worker needs images for each of the {workers.world_size} workers in every batch, also in "
            "an epoch's last one; batch_norm_over=batch does not"
        )
    return None


CHECKS = (
    *(
        _name,
        _app_url,
        _trackers,
        _classes,
        _split,
        _augmentation,
        _optimizer,
        _micro_batch,
        _compile,
        _starts,
        _metrics,
    ),
)
