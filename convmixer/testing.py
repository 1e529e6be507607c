"""Measures test accuracy again: of a run, or of a .safetensors file that `export` wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from convmixer.configs import Configs, plain_batches
from convmixer.consistency import check_consistency
from convmixer.errors import UserError
from convmixer.evaluation import evaluate
from convmixer.keys import keys_of
from convmixer.model.interchange import load_weights
from convmixer.overrides import split_assignments
from convmixer.session import check_changes, final_weights, reopen
from convmixer.tracking.runs import run
from convmixer.training import checkpoints
from convmixer.training.hardware import keep_freed_memory

# What may be other than it was in training: where the images are and how they are read, where it computes.
CHANGEABLE = ("data.dataset", "data.path", "data.image_size", "device", "valid_batch_size")


def test(configs_class: type[Configs], reference: str, overrides: Sequence[str]) -> float:
    """Print and return top-1 accuracy on the test split.

    Raises:
        UserError: no such run or file, or data of other classes than it was trained on.
    """
    changes = split_assignments(overrides)
    if reference.endswith(".safetensors"):
        conf, weights, data = _from_file(configs_class, Path(reference), changes)
    else:
        conf, weights, data = _from_run(configs_class, reference, changes)
    keep_freed_memory()
    conf.data.may_fall_back = False
    check_consistency(conf)
    dataset = conf.data.dataset
    if list(dataset.classes) != data["classes"]:
        raise UserError(
            f"data: {dataset.name} has the classes {', '.join(dataset.classes)}, but {reference} "
            f"was trained on {', '.join(data['classes'])}"
        )
    trainer = conf.trainer
    conf.model.load_state_dict(weights)
    trained_on = replace(dataset, mean=tuple(data["mean"]), std=tuple(data["std"]))
    batches = plain_batches(conf, trained_on, dataset.test, trainer.device)
    _, accuracy = evaluate(conf.model, batches, trainer.autocast())
    print(f"test accuracy {accuracy:.2%} of {len(dataset.test.labels):,} images of {dataset.name}")
    return accuracy


Parts = tuple[Configs, dict[str, Tensor], dict[str, Any]]


def _from_run(configs_class: type[Configs], reference: str, changes: Mapping[str, str]) -> Parts:
    found = run(reference)
    conf = reopen(configs_class, found, changes, CHANGEABLE)
    state = checkpoints.load(found.checkpoint(final_weights(conf)))
    return conf, state["model"], state["data"]


def _from_file(configs_class: type[Configs], path: Path, changes: Mapping[str, str]) -> Parts:
    weights, metadata = load_weights(path)
    checked = check_changes(changes, keys_of(configs_class), CHANGEABLE)
    recorded = metadata["summary"]["configs"] | {"device": "auto", "data.path": None}
    conf = configs_class()
    conf.override(checked, recorded)
    return conf, weights, metadata["data"]
