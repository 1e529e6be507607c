"""Trains once for each of several seeds, a run for each, and prints mean and deviation."""

import itertools
import os
import statistics
import uuid
from collections.abc import Mapping, Sequence
from signal import Signals
from typing import Any

from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.console import as_argument
from convmixer.errors import Interrupted, TrainingFault, UserError
from convmixer.experiment.running import run_recorded
from convmixer.project import logs_folder, script
from convmixer.tracking.child_run import SignalRelay, start_run
from convmixer.tracking.known_runs import begin_or_resume, find_run
from convmixer.training.hardware import choose_device

STOPPED = (129, 130, 141, 143)  # exit statuses of a run that saved a checkpoint and ended, as it was told to
REFUSED = UserError.exit_status


def train_seeds(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> None:
    """Train `given["seeds"]` runs, the first with `given["seed"]`, and print their mean test accuracy.

    On a CPU each has a process of its own. A run that fails does not keep the others from being trained, and the same
    command continues a series that has not ended. On a GPU all have this process: what it compiled for the first
    run, it has for the others.

    Raises:
        TrainingFault: runs failed.
        Interrupted: a signal stopped the series.
        UserError: a run was refused before it began, and said why.
    """
    first, count = given.get("seed", 0), given["seeds"]
    rest = {name: value for name, value in given.items() if name not in ("seed", "seeds")}
    seeds = range(first, first + count)
    if shares_process(given):
        os.environ["CONVMIXER_SERIES"] = uuid.uuid4().hex[:8]  # the runs' tag
        accuracies = [_train_here(configs_class, rest | {"seed": seed}, quiet) for seed in seeds]
    else:
        accuracies = _train_apart([as_argument(name, value) for name, value in rest.items()], seeds, quiet)
    print(f"\n{_summary(accuracies)}")


def shares_process(given: Mapping[str, Any]) -> bool:
    """Return True if the runs are trained one after another in this process: on a GPU."""
    return choose_device(given.get("device", "auto")).type == "cuda"


def _train_here(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> float:
    configs = configs_class()
    configs.override(given)
    return run_recorded(build(configs), configs, quiet)["accuracy.test"]


def _train_apart(words: Sequence[str], seeds: Sequence[int], quiet: bool) -> list[float]:
    """Train each seed in a process of its own, and return the runs' test accuracies."""
    uuids = _series(words, seeds)
    os.environ["CONVMIXER_SERIES"] = uuids[seeds[0]][:8]  # the runs' tag
    failures = []
    with SignalRelay() as relay:
        for seed, identity in uuids.items():
            if relay.signal:
                raise _interrupted(seed, relay.signal)
            status = _train(identity, [*words, f"seed={seed}"], quiet, relay)
            if status in STOPPED:
                raise _interrupted(seed, relay.signal or status - 128)
            if status == REFUSED:
                raise UserError(f"seeds={len(seeds)}: the run with seed={seed} could not begin")
            if status:
                failures.append(f"seed={seed} {_ending(status)}")
    if failures:
        raise TrainingFault(
            f"{len(failures)} of {len(seeds)} runs failed: {', '.join(failures)}; the same command continues the series"
        )
    return [find_run(identity, logs_folder()).summary["accuracy.test"] for identity in uuids.values()]


def _series(words: Sequence[str], seeds: Sequence[int]) -> dict[int, str]:
    """Return the uuid of each seed's run: of the first series of this command that has not ended, else of a new one."""
    for number in itertools.count():
        series = "/".join([script().name, *words, str(number)])
        uuids = {seed: uuid.uuid5(uuid.NAMESPACE_OID, f"{series}/{seed}").hex for seed in seeds}
        if not all(map(_has_ended, uuids.values())):
            return uuids
    raise AssertionError("there is no end of numbers")


def _has_ended(identity: str) -> bool:
    run = find_run(identity, logs_folder())
    return bool(run and run.summary)


def _train(identity: str, words: Sequence[str], quiet: bool, relay: SignalRelay) -> int:
    """Train a run and return its exit status; one that has ended already is not trained again."""
    if _has_ended(identity):
        if not quiet:
            print(f"{words[-1]}: run {identity[:8]} has ended already", flush=True)
        return 0
    command = begin_or_resume(find_run(identity, logs_folder()), identity, ["train", *words])
    process = start_run([str(script()), *command, *(["--quiet"] if quiet else [])], identity)
    return relay.wait_for(process)


def _interrupted(seed: int, number: int) -> Interrupted:
    return Interrupted(f"stopped at seed={seed}; the same command continues the series", number)


def _ending(status: int) -> str:
    """Say in words how a run ended that was not told to."""
    return f"was killed by {Signals(status - 128).name}" if status > 128 else f"ended with status {status}"


def _summary(accuracies: Sequence[float]) -> str:
    each = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    return (
        f"test accuracy over {len(accuracies)} seeds: {statistics.mean(accuracies):.2%} "
        f"± {statistics.stdev(accuracies):.2%} (standard deviation; {each})"
    )
