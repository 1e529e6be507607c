"""Checks that a trainer can go on from the state in a checkpoint, before any of it is taken over."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from convmixer.errors import UserError
from convmixer.files.pickles import holds_its_numbers

REQUIRED = (  # what all versions have written
    *("model", "model_in_training", "optimizer", "scaler", "interval", "epoch_sums", "generator", "cuda_generators"),
    *("step", "seconds", "best_accuracy"),
)
KEPT = {  # of each parameter
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Muon: ("momentum_buffer",),
}
CUDA_GENERATOR = (16,)  # bytes: seed and offset
MOST_STEPS = 10**12
MOST_NUMBER = 1e30  # NaN is not less than it either


def check_restorable(
    own: Mapping[str, Any], optimizer: torch.optim.Optimizer, scales: bool, state: Mapping[str, Any]
) -> None:
    """Compare the state in a checkpoint with a trainer's own: names, types, shapes, and numbers that are finite.

    What a newer version has added may be missing; what an older one had may be there.

    Args:
        own: the trainer's `state_dict()`.
        optimizer: the trainer's.
        scales: its gradient scaler is in use, so that the scaler's state counts.
        state: of the checkpoint.

    Raises:
        UserError: something is missing or of another kind.
    """
    missing = [name for name in REQUIRED if name not in state]
    if missing:
        raise _unfit(f"it lacks {missing[0]}")
    for name in ("model", "model_in_training", "interval", "epoch_sums"):
        _compare(own[name], state[name], name)
    if not isinstance(state["scaler"], Mapping):
        raise _unfit("scaler is no scaler's state")
    if scales:
        _compare(own["scaler"], state["scaler"], "scaler")
    _check_optimizer(optimizer, own["optimizer"], state["optimizer"], "optimizer")
    _check_generator(state["generator"], own["generator"].shape, "generator")
    if not isinstance(state["cuda_generators"], list):
        raise _unfit("cuda_generators is no list")
    for generator in state["cuda_generators"]:
        _check_generator(generator, CUDA_GENERATOR, "cuda_generators")
    for name in ("step", "total_steps", "rewinds", "log_bytes"):
        _check_count(state.get(name, 0), name)
    for name in ("seconds", "warm_up_seconds", "best_accuracy"):
        _check_number(state.get(name, 0.0), name)
    epoch_loss = state.get("epoch_loss", 0.0)
    if not (isinstance(epoch_loss, float) and epoch_loss == math.inf):  # which it is before an epoch has ended
        _check_number(epoch_loss, "epoch_loss")


def _unfit(problem: str) -> UserError:
    return UserError(f"the checkpoint does not fit this run: {problem}")


def _compare(own: Any, other: Any, where: str) -> None:
    """Every part of `own` must be in `other`, and be like it."""
    if isinstance(own, Mapping):
        if not isinstance(other, Mapping):
            raise _unfit(f"{where} is {_kind(other)}, expected names and values")
        for name, value in own.items():
            if name not in other:
                raise _unfit(f"{where} lacks {name}")
            _compare(value, other[name], f"{where}.{name}")
        extra = [name for name in other if name not in own]
        if extra:
            raise _unfit(f"{where} holds {str(extra[0])[:60]!a}, which the run has not")
    elif isinstance(own, Tensor):
        _check_tensor(other, tuple(own.shape), own.dtype, where)
    elif isinstance(own, bool | str | None):
        is_switch = isinstance(own, bool) and not where.endswith((".fused", ".foreach"))  # which devices differ in
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
    """Its groups as they are here; of those known here, what they keep of each parameter as well."""
    if not isinstance(state, Mapping) or not own.keys() <= state.keys():
        raise _unfit(f"{where} is no state of such an optimizer")
    if "param_groups" not in own:  # one made of others
        for name in own:
            if isinstance(inner := getattr(optimizer, name, None), torch.optim.Optimizer):
                _check_optimizer(inner, own[name], state[name], f"{where}.{name}")
        return
    _compare(own["param_groups"], state["param_groups"], f"{where}.param_groups")
    if [g["params"] for g in own["param_groups"]] != [list(g["params"]) for g in state["param_groups"]]:
        raise _unfit(f"{where}.param_groups are of other parameters")
    if not isinstance(state["state"], Mapping):
        raise _unfit(f"{where}.state is {_kind(state['state'])}, expected names and values")
    if type(optimizer) in KEPT:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for index, kept in state["state"].items():
            place = f"{where}.state.{str(index)[:60]!a}"
            if type(index) is not int or not 0 <= index < len(parameters):
                raise _unfit(f"{place} is of no parameter")
            _check_kept(kept, KEPT[type(optimizer)], tuple(parameters[index].shape), place)


def _check_kept(kept: Any, names: tuple[str, ...], shape: tuple[int, ...], where: str) -> None:
    """What an optimizer keeps of a parameter: nothing yet, or all of `names`, as large as that; `step` is a number."""
    if not isinstance(kept, Mapping) or (kept and set(kept) != set(names)):
        raise _unfit(f"{where} holds other things than {', '.join(names)}")
    for name, value in kept.items():
        if value is not None or name != "momentum_buffer":  # which SGD leaves out where there is no momentum
            _check_tensor(value, () if name == "step" else shape, torch.float32, f"{where}.{name}")


def _check_generator(generator: Any, shape: tuple[int, ...], where: str) -> None:
    is_one = isinstance(generator, Tensor) and generator.dtype is torch.uint8 and holds_its_numbers(generator)
    if not is_one or tuple(generator.shape) != tuple(shape):
        raise _unfit(f"{where} is no state of a random generator")


def _check_count(value: Any, where: str) -> None:
    if type(value) is not int or not 0 <= value <= MOST_STEPS:
        raise _unfit(f"{where} is {str(value)[:40]!a}, expected an integer from 0 up to {MOST_STEPS}")


def _check_number(value: Any, where: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -MOST_NUMBER < value < MOST_NUMBER:
        raise _unfit(f"{where} is {str(value)[:40]!a}, expected a number")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
