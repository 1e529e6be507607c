"""What values must agree on with each other and with the data: checked after both are known, before a run begins."""

import torch

from convmixer.configs import Configs
from convmixer.errors import UserError
from convmixer.training.hardware import choose_device


def check_consistency(c: Configs) -> None:
    """Raise a `UserError` of one line for values that can't work together."""
    choose_device(c.device)
    for problem in (_name, _sizes, _classes, _split, _augmentation, _optimizer, _precision):
        message = problem(c)
        if message:
            raise UserError(f"overrides: {message}")


def _name(c: Configs) -> str | None:
    if c.name is not None and (c.name.startswith(".") or not set(c.name).isdisjoint('/\\:*?"<>|')):
        return f"name={c.name} is wrong, expected a name that can be a folder's"
    return None


def _sizes(c: Configs) -> str | None:
    height, width = c.data.dataset.train.images.shape[1:3]
    p = c.patch_size
    if height % p or width % p:
        fitting = [d for d in range(1, min(height, width) + 1) if height % d == width % d == 0]
        nearest = min(fitting, key=lambda d: abs(d - p))
        return f"patch_size={p} does not divide images of {height}x{width}; {nearest} does"
    n, batch = len(c.train_split.labels), c.train_batch_size
    if height == width == p and 1 in (batch, n % batch):
        return "batch normalisation can't train on one image that is one patch: " + (
            "give another patch_size or train_batch_size"
        )
    return None


def _classes(c: Configs) -> str | None:
    there = len(c.data.dataset.classes)
    if c.n_classes < there:
        return f"n_classes={c.n_classes} is less than the {there} classes of {c.data.dataset.name}"
    channels = c.data.dataset.train.images.shape[3]
    if c.in_channels != channels:
        return f"in_channels={c.in_channels}, but the images have {channels}"
    return None


def _split(c: Configs) -> str | None:
    if c.final_weights == "best" and c.data.validation == 0 and "final_weights" in c._given:
        return "final_weights=best needs a validation split, but data.validation=0"
    return None


def _augmentation(c: Configs) -> str | None:
    ops, size = c.augment.ops, min(c.data.dataset.train.images.shape[1:3])
    twice = sorted({op for op in ops if ops.count(op) > 1})
    if twice:
        return f"augment.ops names {', '.join(twice)} twice"
    if c.augment.translate >= size:
        return f"augment.translate={c.augment.translate} does not fit images of {size} pixels"
    return None


def _optimizer(c: Configs) -> str | None:
    betas = c._values["optimizer.betas"]
    if len(betas) != 2:
        return f"optimizer.betas={betas} is wrong, expected two numbers, as [0.9,0.999]"
    return None


def _precision(c: Configs) -> str | None:
    device = choose_device(c.device)
    if c.precision == "float16" and device.type == "cpu":
        return "precision=float16 needs a GPU; a CPU takes float32 or bfloat16"
    if c.precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return "precision=bfloat16 is not supported by this GPU; float16 is"
    return None
