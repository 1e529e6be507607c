"""The same training with several seeds: one process and one run each; mean and deviation at the end."""

import os
import statistics
import subprocess
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from convmixer.errors import TrainingFault
from convmixer.overrides import as_argument
from convmixer.session import script
from convmixer.tracking.runs import run


def train_seeds(given: Mapping[str, Any], quiet: bool) -> None:
    """Train `given["seeds"]` runs, from `given["seed"]` on.

    Raises:
        TrainingFault: a run failed; those before it are kept.
    """
    first = given.get("seed", 0)
    rest = {name: value for name, value in given.items() if name not in ("seed", "seeds")}
    arguments = [as_argument(name, value) for name, value in rest.items()]
    accuracies = []
    for seed in range(first, first + given["seeds"]):
        accuracies.append(_train_one([*arguments, f"seed={seed}"], quiet)["accuracy.test"])
    deviation = statistics.stdev(accuracies)
    each = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    print(
        f"\ntest accuracy over {len(accuracies)} seeds: {statistics.mean(accuracies):.2%} "
        f"± {deviation:.2%} (standard deviation; {each})"
    )


def _train_one(arguments: list[str], quiet: bool) -> dict[str, Any]:
    identity = uuid.uuid1().hex
    command = [sys.executable, str(script()), "train", *arguments, *(["--quiet"] if quiet else [])]
    # labml takes a run's uuid from here.
    ended = subprocess.run(command, env={**os.environ, "RUN_UUID": identity}, check=False)
    if ended.returncode:
        raise TrainingFault(f"the run with {arguments[-1]} ended with status {ended.returncode}")
    return run(identity).summary
