"""The same training with several seeds: one run each; mean and deviation at the end."""

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
from convmixer.project import script
from convmixer.tracking.runs import run
from convmixer.training.hardware import choose_device


def train_seeds(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> None:
    """Train `given["seeds"]` runs, from `given["seed"]` on.

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
    command = [sys.executable, str(script()), "train", *arguments, *(["--quiet"] if quiet else [])]
    status = _status_of(command, identity)
    if status in (129, 130, 143):
        how = f"python {script().name} resume {identity}"
        raise Interrupted(f"stopped in the run with {arguments[-1]}; go on with it: {how}", status - 128)
    if status:
        raise TrainingFault(f"the run with {arguments[-1]} ended with status {status}")
    return run(identity).summary


def _status_of(command: list[str], identity: str) -> int:
    """The exit status of a run, which is left the time to save when this process is told to stop."""
    process = subprocess.Popen(command, env={**os.environ, "RUN_UUID": identity})  # labml takes the uuid from there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to both
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    return process.wait()
