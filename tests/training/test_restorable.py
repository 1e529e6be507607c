"""A state that is not of this trainer is refused, whole and in one line, before any of it is taken over."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.robustness.fuzz.weights import small_trainer
from convmixer.errors import UserError
from convmixer.training.trainer import Trainer


@pytest.fixture(scope="module")
def trained() -> Trainer:
    """After an update."""
    trainer = small_trainer()
    trainer.train_step(next(trainer.train.epoch()))
    return trainer


def set_kept(name: str, value: Any) -> Callable[[dict], None]:
    return lambda state: state["optimizer"]["state"][0].__setitem__(name, value)


def put(name: str, value: Any) -> Callable[[dict], None]:
    return lambda state: state.__setitem__(name, value)


WEIGHT = "classification.linear.weight"
WRONG = {
    "no model": (lambda s: s.pop("model"), "it lacks model"),
    "no generator": (lambda s: s.pop("generator"), "it lacks generator"),
    "a weight missing": (lambda s: s["model"].pop(WEIGHT), f"model lacks {WEIGHT}"),
    "a weight too many": (lambda s: s["model"].update(extra=torch.zeros(1)), "model holds 'extra'"),
    "another shape": (lambda s: s["model"].update({WEIGHT: torch.zeros(3, 4)}), r"is \[3, 4\] of torch.float32"),
    "another type": (lambda s: s["model"].update({WEIGHT: torch.zeros(10, 4).long()}), "of torch.int64, expected"),
    "one number posing as many": (lambda s: s["model"].update({WEIGHT: torch.zeros(1).expand(10, 4)}), "a tensor"),
    "text for a model": (put("model", "weights"), "model is a str"),
    "a step that is text": (put("step", "3"), "step is '3', expected an integer"),
    "a step below 0": (put("step", -1), "step is '-1'"),
    "endless steps": (put("total_steps", 10**400), "total_steps is"),
    "NaN seconds": (put("seconds", float("nan")), "seconds is 'nan', expected a number"),
    "a generator of the wrong size": (put("generator", torch.zeros(3, dtype=torch.uint8)), "not the state of a random"),
    "generators that are none": (put("cuda_generators", [3]), "not the state of a random generator"),
    "an average where there is none": (put("model_in_training", {}), "model_in_training is a dict, expected a None"),
    "another optimizer": (put("optimizer", {"adamw": {}}), "optimizer is the state of another optimizer"),
    "a group less": (lambda s: s["optimizer"]["param_groups"].pop(), "optimizer.param_groups is a list, expected 2"),
    "a rate of text": (
        lambda s: s["optimizer"]["param_groups"][0].update(lr="fast"),
        "lr is 'fast', expected a number",
    ),
    "other parameters": (lambda s: s["optimizer"]["param_groups"][0].update(params=[9, 9, 9]), "param_groups"),
    "a moment of another shape": (set_kept("exp_avg", torch.zeros(3)), r"exp_avg is \[3\]"),
    "a step of several numbers": (set_kept("step", torch.zeros(4)), r"step is \[4\]"),
    "a moment missing": (lambda s: s["optimizer"]["state"][0].pop("exp_avg"), "holds other entries than step, exp_avg"),
    "moments of no parameter": (lambda s: s["optimizer"]["state"].update({99: {}}), "'99' belongs to no parameter"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_state_of_something_else_is_refused(trained: Trainer, what: str) -> None:
    spoil, message = WRONG[what]
    state = copy.deepcopy(trained.state_dict())
    spoil(state)
    other = small_trainer()
    before = copy.deepcopy(other.model.state_dict())
    with pytest.raises(UserError, match=message) as error:
        other.load_state_dict(state)
    assert "\n" not in str(error.value) and other.step == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.model.state_dict().items())


def test_its_own_is_taken(trained: Trainer) -> None:
    other = small_trainer()
    other.load_state_dict(copy.deepcopy(trained.state_dict()) | {"added_by_a_newer_version": 3})
    assert other.step == 1
