"""Opens what was trained before: its configs again, with what may be changed, to go on or to measure."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convmixer.configs import CHANGEABLE_ON_RESUME, Configs
from convmixer.data.datasets import auto_was
from convmixer.errors import UserError
from convmixer.experiment.resuming import check_unended
from convmixer.experiment.running import begin, prepare, script
from convmixer.keys import Key, keys_of
from convmixer.overrides import check
from convmixer.tracking.runs import Run


def check_changes(changes: Mapping[str, Any], keys: Mapping[str, Key], changeable: tuple[str, ...]) -> dict[str, Any]:
    """Typed overrides of what was trained already.

    Raises:
        UserError: one of them is wrong, or not `changeable`.
    """
    checked = check(changes, keys, "command line")
    refused = [name for name in checked if name not in changeable]
    if refused:
        raise UserError(
            f"command line: {refused[0]} can't be changed in a run that has begun; only {', '.join(changeable)} can"
        )
    return checked


def reopen(configs_class: type[Configs], run: Run, changes: Mapping[str, Any], changeable: tuple[str, ...]) -> Configs:
    """The configs of a run, with `changes`.

    Raises:
        UserError: a change that is not `changeable`, or a run of another script.
    """
    trained_by = Path(run.info["python_file"])
    if trained_by.name != script().name:
        arguments = " ".join(sys.argv[1:])
        raise UserError(f"run {run.uuid[:8]} is of {trained_by}: use python {trained_by} {arguments}")
    keys = keys_of(configs_class)
    changes = check_changes(changes, keys, changeable)
    conf = configs_class()
    recorded = {name: run.recorded[name] for name in keys if name in run.recorded}
    if recorded["data.dataset"] == "auto":  # what it came to then is what it is now
        path = (run.given | changes).get("data.path")
        recorded["data.dataset"] = auto_was(run.info["tags"], path and Path(path))
    conf.override(run.given | changes, recorded)
    return conf


def reopen_unended(configs_class: type[Configs], run: Run, changes: Mapping[str, Any]) -> tuple[Configs, Run]:
    """The configs of a run that was interrupted, and the run.

    Raises:
        UserError: it has ended, or can't be gone on with.
    """
    check_unended(run)
    return reopen(configs_class, run, changes, CHANGEABLE_ON_RESUME), run


def resume(configs_class: type[Configs], run: Run, changes: Mapping[str, Any], quiet: bool) -> None:
    """Go on with a run that was interrupted.

    Raises:
        UserError: it has ended, or can't be gone on with.
    """
    conf, run = reopen_unended(configs_class, run, changes)
    prepare(conf, run)
    begin(conf, quiet, run)
