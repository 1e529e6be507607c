"""Shows the progress of a training: a bar on a terminal, and an estimate of the training time."""

import sys
import time
from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convmixer.console import duration, rich_console

WARM_STEPS = 5  # updates before the first estimate of the time it will take
LONG = 30 * 60  # seconds; `small` and `medium` take less on the two quick cores that they are made for


Work = Callable[[int, int], float]  # how much the updates from one to another compute, in a unit of its own


class ProgressBar:
    """A progress bar on a terminal. Nothing is shown if the output is piped, or with `shown=False`."""

    def __init__(self, total_steps: int, done: int, work: Work, shown: bool) -> None:
        self._work = work
        self._shown = shown and sys.stdout.isatty()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
            console=rich_console(),
            transient=True,
            disable=not self._shown,
        )
        self._task = self._bar.add_task("training", total=work(0, total_steps), completed=work(0, done))

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, step: int, total_steps: int) -> None:
        """Move the bar to update number `step` of `total_steps`."""
        if self._shown:
            self._bar.update(self._task, completed=self._work(0, step), total=self._work(0, total_steps))

    def describe(self, text: str) -> None:
        """Set the text before the bar."""
        if self._shown:
            self._bar.update(self._task, description=text)


class Estimate:
    """An estimate of the training time, measured on a few updates after a warm-up.

    Args:
        may_be_shorter: it is a new run, which could be given `minutes` instead.
    """

    def __init__(self, step: int, total_steps: int, work: Work, may_be_shorter: bool) -> None:
        self._first = step + WARM_STEPS
        self._measured = step + 4 * WARM_STEPS
        self._total = total_steps
        self._work = work
        self._may_be_shorter = may_be_shorter
        self._started = 0.0

    def after(self, step: int) -> str | None:
        """Return the estimate in words after the last measured update; None after all other updates."""
        if step == self._first:
            self._started = time.perf_counter()
        if step != self._measured:
            return None
        per_work = (time.perf_counter() - self._started) / self._work(self._first, step)
        seconds = per_work * self._work(self._first - WARM_STEPS, self._total)
        text = f"expected training time: {duration(seconds)}"
        if seconds > LONG and self._may_be_shorter:
            text += ". That is long; stop it with Ctrl-C and add minutes=5, say, to train for that time"
        return text
