"""Trains once for each of several seeds, a run for each, and prints mean and deviation."""

import os
import signal
import statistics
import subprocess
import sys
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.console import as_argument
from convmixer.errors import Interrupted, TrainingFault
from convmixer.experiment.running import run_recorded
from convmixer.project import command, script
from convmixer.tracking.runs import run
from convmixer.training.hardware import choose_device


def train_seeds(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> None:
    """Train `given["seeds"]` runs, the first with `given["seed"]`, and print their mean test accuracy.

    On a CPU each has a process of its own. On a GPU all have this one: what it compiled for the first, it has for the
    others.

    Raises:
        TrainingFault: a run failed; those before it are kept.
        Interrupted: a signal stopped one.
    """
    first = given.get("seed", 0)
    rest = {name: value for name, value in given.items() if name not in ("seed", "seeds")}
    train_one = partial(_train_here, configs_class) if shares_process(given) else _train_apart
    accuracies = [
        train_one(rest | {"seed": seed}, quiet)["accuracy.test"] for seed in range(first, first + given["seeds"])
    ]
    deviation = statistics.stdev(accuracies)
    each = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    print(
        f"\ntest accuracy over {len(accuracies)} seeds: {statistics.mean(accuracies):.2%} "
        f"± {deviation:.2%} (standard deviation; {each})"
    )


def shares_process(given: Mapping[str, Any]) -> bool:
    """True if the runs are trained one after another in this process: on a GPU."""
    return choose_device(given.get("device", "auto")).type == "cuda"


def _train_here(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    configs = configs_class()
    configs.override(given)
    return run_recorded(build(configs), configs, quiet)


def _train_apart(given: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    arguments = [as_argument(name, value) for name, value in given.items()]
    identity = uuid.uuid1().hex
    words = [sys.executable, str(script()), "train", *arguments, *(["--quiet"] if quiet else [])]
    status = _status_of(words, identity)
    if status in (129, 130, 143):
        how = f"{command()} resume {identity}"
        raise Interrupted(f"the run with {arguments[-1]} was stopped; resume it with: {how}", status - 128)
    if status:
        raise TrainingFault(f"the run with {arguments[-1]} failed (exit status {status})")
    return run(identity).summary


def _status_of(words: list[str], identity: str) -> int:
    """Start a run, wait for it and return its exit status. If this process must stop, the run can still save."""
    process = subprocess.Popen(words, env={**os.environ, "RUN_UUID": identity})  # labml takes the uuid from there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to both
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    return process.wait()
