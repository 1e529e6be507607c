"""Checks that a trainer can resume from the state in a checkpoint, before any of it is loaded."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from convmixer.errors import UserError
from convmixer.files.pickles import holds_its_numbers
from convmixer.training.muon import BatchedMuon

REQUIRED = (  # the entries that all versions write
    *("model", "model_in_training", "optimizer", "scaler", "interval", "epoch_sums", "generator", "cuda_generators"),
    *("step", "seconds", "best_accuracy"),
)
KEPT = {  # the state of each parameter in an optimizer
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Muon: ("momentum_buffer",),
    BatchedMuon: ("momentum_buffer",),
}
CUDA_GENERATOR = (16,)  # bytes: seed and offset
MOST_STEPS = 10**12
MOST_NUMBER = 1e30  # NaN is not less than it either


def check_restorable(
    own: Mapping[str, Any], optimizer: torch.optim.Optimizer, scales: bool, state: Mapping[str, Any]
) -> None:
    """Compare the state in a checkpoint with a trainer's own: names, types, shapes, and that numbers are finite.

    Entries that newer versions added may be missing, and entries of older versions may be present.

    Args:
        own: the trainer's `state_dict()`.
        optimizer: the trainer's optimizer.
        scales: the trainer's gradient scaler is in use, so its state is checked.
        state: the checkpoint's state.

    Raises:
        UserError: an entry is missing or has another type, shape or range.
    """
    missing = [name for name in REQUIRED if name not in state]
    if missing:
        raise _unfit(f"it lacks {missing[0]}")
    for name in ("model", "model_in_training", "interval", "epoch_sums"):
        _compare(own[name], state[name], name)
    if not isinstance(state["scaler"], Mapping):
        raise _unfit("scaler is not the state of a gradient scaler")
    if scales:
        _compare(own["scaler"], state["scaler"], "scaler")
    _check_optimizer(optimizer, own["optimizer"], state["optimizer"], "optimizer")
    _check_generator(state["generator"], own["generator"].shape, "generator")
    if not isinstance(state["cuda_generators"], list):
        raise _unfit("cuda_generators is not a list")
    for generator in state["cuda_generators"]:
        _check_generator(generator, CUDA_GENERATOR, "cuda_generators")
    for name in ("step", "total_steps", "rewinds", "log_bytes"):
        _check_count(state.get(name, 0), name)
    if state.get("fully_augmented") is not None:
        _check_count(state["fully_augmented"], "fully_augmented")
    for name in ("seconds", "warm_up_seconds", "best_accuracy"):
        _check_number(state.get(name, 0.0), name)
    epoch_loss = state.get("epoch_loss", 0.0)
    if not (isinstance(epoch_loss, float) and epoch_loss == math.inf):  # its value in the first epoch
        _check_number(epoch_loss, "epoch_loss")


def _unfit(problem: str) -> UserError:
    return UserError(f"the checkpoint does not fit this run: {problem}")


def _compare(own: Any, other: Any, where: str) -> None:
    """Check that `other` has the same parts as `own`, of the same kinds."""
    if isinstance(own, Mapping):
        if not isinstance(other, Mapping):
            raise _unfit(f"{where} is {_kind(other)}, expected names and values")
        for name, value in own.items():
            if name not in other:
                raise _unfit(f"{where} lacks {name}")
            _compare(value, other[name], f"{where}.{name}")
        extra = [name for name in other if name not in own]
        if extra:
            raise _unfit(f"{where} holds {str(extra[0])[:60]!a}, which the run does not have")
    elif isinstance(own, Tensor):
        _check_tensor(other, tuple(own.shape), own.dtype, where)
    elif isinstance(own, bool | str | None):
        depends_on_device = where.endswith((".fused", ".foreach", ".capturable"))
        is_switch = isinstance(own, bool) and not depends_on_device
        if type(own) is not type(other) or (is_switch and own != other):
            raise _unfit(f"{where} is {_kind(other)}, expected {_kind(own)}")
    elif isinstance(own, int | float):
        _check_number(other, where)
    elif isinstance(own, list | tuple):
        if not isinstance(other, list | tuple) or len(own) != len(other):
            raise _unfit(f"{where} is {_kind(other)}, expected {len(own)} values")
        for index, (one, two) in enumerate(zip(own, other, strict=True)):
            _compare(one, two, f"{where}.{index}")


def _check_tensor(tensor: Any, shape: tuple[int, ...], dtype: torch.dtype, where: str) -> None:
    if not holds_its_numbers(tensor):
        raise _unfit(f"{where} is {_kind(tensor)}, expected a tensor")
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise _unfit(f"{where} is {list(tensor.shape)} of {tensor.dtype}, expected {list(shape)} of {dtype}")


def _check_optimizer(optimizer: torch.optim.Optimizer, own: Mapping[str, Any], state: Any, where: str) -> None:
    """Check an optimizer's groups, and for the types in `KEPT` also the state of each parameter."""
    if not isinstance(state, Mapping) or not own.keys() <= state.keys():
        raise _unfit(f"{where} is the state of another optimizer")
    if "param_groups" not in own:  # an optimizer made of others
        for name in own:
            if isinstance(inner := getattr(optimizer, name, None), torch.optim.Optimizer):
                _check_optimizer(inner, own[name], state[name], f"{where}.{name}")
        return
    _compare(own["param_groups"], state["param_groups"], f"{where}.param_groups")
    if [g["params"] for g in own["param_groups"]] != [list(g["params"]) for g in state["param_groups"]]:
        raise _unfit(f"{where}.param_groups have other parameters")
    if not isinstance(state["state"], Mapping):
        raise _unfit(f"{where}.state is {_kind(state['state'])}, expected names and values")
    if type(optimizer) in KEPT:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for index, kept in state["state"].items():
            place = f"{where}.state.{str(index)[:60]!a}"
            if type(index) is not int or not 0 <= index < len(parameters):
                raise _unfit(f"{place} belongs to no parameter")
            _check_kept(kept, KEPT[type(optimizer)], tuple(parameters[index].shape), place)


def _check_kept(kept: Any, names: tuple[str, ...], shape: tuple[int, ...], where: str) -> None:
    """Check an optimizer's state of a parameter: empty, or all of `names`, in its shape; `step` is a number."""
    if not isinstance(kept, Mapping) or (kept and set(kept) != set(names)):
        raise _unfit(f"{where} holds other entries than {', '.join(names)}")
    for name, value in kept.items():
        if value is not None or name != "momentum_buffer":  # None in SGD without momentum
            _check_tensor(value, () if name == "step" else shape, torch.float32, f"{where}.{name}")


def _check_generator(generator: Any, shape: tuple[int, ...], where: str) -> None:
    is_one = isinstance(generator, Tensor) and generator.dtype is torch.uint8 and holds_its_numbers(generator)
    if not is_one or tuple(generator.shape) != tuple(shape):
        raise _unfit(f"{where} is not the state of a random generator")


def _check_count(value: Any, where: str) -> None:
    if type(value) is not int or not 0 <= value <= MOST_STEPS:
        raise _unfit(f"{where} is {str(value)[:40]!a}, expected an integer from 0 up to {MOST_STEPS}")


def _check_number(value: Any, where: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -MOST_NUMBER < value < MOST_NUMBER:
        raise _unfit(f"{where} is {str(value)[:40]!a}, expected a number")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
