"""The time that a run says it will take."""

import pytest

from convmixer.experiment import progress
from convmixer.experiment.progress import Estimate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by as much as is asked, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def said(clock: list[float], seconds_per_update: float, **options: object) -> list[str]:
    options.setdefault("work", lambda first, last: last - first)
    estimate = Estimate(**options)
    lines = []
    for step in range(options["step"] + 1, options["step"] + 101):
        clock[0] += 30 if step == options["step"] + 1 else seconds_per_update  # the first one compiles
        lines += [line for line in [estimate.after(step)] if line]
    return lines


def test_it_is_said_once(clock: list[float]) -> None:
    assert said(clock, 0.25, step=0, total_steps=1000, may_be_shorter=True) == ["expected training time: 4 min 10 s"]


def test_a_resumed_run_says_what_is_left(clock: list[float]) -> None:
    assert said(clock, 1, step=940, total_steps=1000, may_be_shorter=False) == ["expected training time: 1 min 0 s"]


def test_a_long_one_says_how_to_take_less(clock: list[float]) -> None:
    (line,) = said(clock, 2, step=0, total_steps=7700, may_be_shorter=True)
    assert line.startswith("expected training time: 4 h 16 min. ") and "minutes=5" in line


def test_one_that_was_given_its_length_in_minutes_does_not(clock: list[float]) -> None:
    (line,) = said(clock, 2, step=0, total_steps=7700, may_be_shorter=False)
    assert line == "expected training time: 4 h 16 min"
