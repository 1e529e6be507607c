"""`seeds=N`: a series of runs that goes on after whatever has stopped it."""

import signal
import time
from pathlib import Path

import psutil
import pytest
from conftest import metrics_saved, wait_for

from convmixer.tracking.runs import all_runs


def seeds_of(folder: Path) -> list[int]:
    return [r.configs["seed"] for r in all_runs(folder / "logs")]


def statuses(folder: Path) -> list[str]:
    return [r.status for r in all_runs(folder / "logs")]


def the_run(process) -> psutil.Process:
    """The one that a series trains now."""
    (child,) = psutil.Process(process.pid).children()
    return child


def test_seeds_train_a_run_each_and_a_series_that_has_ended_is_trained_anew(
    command, tiny_run_overrides, tmp_path
) -> None:
    words = [*tiny_run_overrides, "seeds=2", "seed=5"]
    output = command(*words).stdout
    accuracies = [r.summary["accuracy.test"] for r in all_runs(tmp_path / "logs")]
    assert seeds_of(tmp_path) == [5, 6]
    assert f"test accuracy over 2 seeds: {sum(accuracies) / 2:.2%}" in output
    command(*words)
    assert seeds_of(tmp_path) == [5, 6, 5, 6]


def test_a_run_that_is_killed_keeps_no_other_from_training_and_the_same_command_goes_on(
    start, command, tiny_run_overrides, tmp_path
) -> None:
    words = [*tiny_run_overrides, "seeds=2"]
    process = start(*words)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 0, process)
    the_run(process).kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors == "error: 1 of 2 runs failed: seed=0 was killed by SIGKILL; the same command continues the series\n"
    assert seeds_of(tmp_path) == [0, 1] and statuses(tmp_path) == ["killed", "completed"]

    ended = command(*words)
    assert "seed=1: run" in ended.stdout and "over 2 seeds" in ended.stdout
    assert sorted(seeds_of(tmp_path)) == [0, 1] and statuses(tmp_path) == ["completed"] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_stopped_while_the_second_run_starts_it_ends_at_once(
    start, tiny_run_overrides, tmp_path, number: signal.Signals
) -> None:
    process = start(*tiny_run_overrides, "seeds=2")
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 0, process)
    first = the_run(process)
    wait_for(lambda: set(psutil.Process(process.pid).children()) - {first}, process)
    begun = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - begun < 20
    assert process.returncode == 128 + number
    assert "interrupted: stopped at seed=1; the same command continues the series\n" in errors
    assert "Traceback" not in errors
