"""Opens the configs of a run or a weight file again, to resume or to measure it."""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from convmixer.configs.checks import check_changes_file
from convmixer.configs.keys import Key, keys_of
from convmixer.configs.overrides import check
from convmixer.configs.resolving import resolve
from convmixer.configs.schema import Configs
from convmixer.data.datasets import dataset_of_auto
from convmixer.errors import UserError
from convmixer.experiment.resuming import check_unended
from convmixer.project import is_same_program
from convmixer.tracking.live_changes import LIVE_LENGTHS, is_live
from convmixer.tracking.run_folder import CHANGES
from convmixer.tracking.runs import Run
from convmixer.trained import Trained

# `resume` may change where a run computes and when it saves or goes back, but not what it learns from.
CHANGEABLE_ON_RESUME = (
    "device",
    "kernels",
    "data.path",
    "data.resident",
    "valid_batch_size",
    "checkpoint.minutes",
    "on_nan",
    "tracking.app_url",
    "tracking.also",
)


def check_changes(changes: Mapping[str, Any], keys: Mapping[str, Key], changeable: tuple[str, ...]) -> dict[str, Any]:
    """Check and convert overrides of a run that has begun.

    Raises:
        UserError: one of them is wrong, or not `changeable`.
    """
    checked = check(changes, keys, "command line")
    refused = [name for name in checked if name not in changeable]
    if refused:
        raise UserError(
            f"command line: {refused[0]} can't be changed after training has begun; only {', '.join(changeable)} can"
        )
    return checked


def reopen(configs_class: type[Configs], run: Run, changes: Mapping[str, Any], changeable: tuple[str, ...]) -> Configs:
    """Return the configs of a run, with `changes`.

    Raises:
        UserError: a change is not `changeable`, or another script trained the run.
    """
    trained_by = Path(run.info["python_file"])
    if not is_same_program(trained_by):
        arguments = " ".join(sys.argv[1:])
        raise UserError(f"run {run.uuid[:8]} was trained by {trained_by}: use python {trained_by} {arguments}")
    keys = keys_of(configs_class)
    changes = check_changes(changes, keys, changeable)
    recorded = {name: run.recorded[name] for name in keys if name in run.recorded}
    given = run.given | changes
    conf = configs_class()
    conf.override(given, _with_its_dataset(recorded, run.info["tags"], given.get("data.path")))
    return conf


def reopen_unended(configs_class: type[Configs], run: Run, changes: Mapping[str, Any]) -> Configs:
    """Return the configs of a run that was interrupted.

    Raises:
        UserError: the run has ended or can't be resumed.
    """
    check_unended(run, changes)
    check_changes_file(run.folder / CHANGES, keys_of(configs_class))
    return reopen(configs_class, run, changes, CHANGEABLE_ON_RESUME)


def reopen_live(configs_class: type[Configs], run: Run, changes: Mapping[str, Any]) -> Configs:
    """Return the configs of a run that trains, as `changes` of live values would make them.

    Raises:
        UserError: a change is wrong, or its value can't be changed while the run trains.
    """
    check_unended(run)
    keys = keys_of(configs_class)
    check_changes(changes, keys, tuple(name for name, key in keys.items() if is_live(name) or key.prototype))
    together = {key: value for key, value in changes.items() if key not in LIVE_LENGTHS}  # `minutes` excludes lengths
    return reopen(configs_class, run, together, tuple(together))


def reopen_file(configs_class: type[Configs], trained: Trained, changes: Mapping[str, Any]) -> Configs:
    """Return the configs that the network of a .safetensors file was trained with, for this machine."""
    keys = keys_of(configs_class)
    recorded = resolve({}, keys) | {key: trained.configs[key] for key in keys if key in trained.configs}
    conf = configs_class()
    here = {"device": "auto", "data.path": None}
    conf.override(changes, _with_its_dataset(recorded, [trained.data["name"]], changes.get("data.path")) | here)
    return conf


def _with_its_dataset(recorded: dict[str, Any], names: Collection[str], path: str | None) -> dict[str, Any]:
    """Return the values with `data.dataset=auto` replaced by the data set that it chose, one of `names`."""
    if recorded["data.dataset"] != "auto":
        return recorded
    return recorded | {"data.dataset": dataset_of_auto(names, Path(path) if path else None)}
