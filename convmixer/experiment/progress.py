"""What is seen while a run trains: a bar on a terminal, one plain line an epoch elsewhere."""

import sys
import time

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convmixer.console import Console, duration

WARM_STEPS = 5  # updates before the first estimate of the time it will take


class ProgressBar:
    """A bar on a terminal; nothing where output is piped, or with `shown=False`."""

    def __init__(self, total_steps: int, done: int, shown: bool) -> None:
        self._shown = shown and sys.stdout.isatty()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
            console=Console(),
            transient=True,
            disable=not self._shown,
        )
        self._task = self._bar.add_task("training", total=total_steps, completed=done)

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, step: int) -> None:
        """After each update."""
        if self._shown:
            self._bar.update(self._task, completed=step)

    def describe(self, text: str) -> None:
        """Words before the bar."""
        if self._shown:
            self._bar.update(self._task, description=text)


class Estimate:
    """How long the updates that remain will take, from the first ones after a warm-up."""

    def __init__(self, step: int, total_steps: int) -> None:
        self._first = step + WARM_STEPS
        self._measured = step + 4 * WARM_STEPS
        self._total = total_steps
        self._started = 0.0

    def after(self, step: int) -> str | None:
        """The estimate in words, once, when there is one."""
        if step == self._first:
            self._started = time.perf_counter()
        if step != self._measured:
            return None
        seconds = (time.perf_counter() - self._started) / (step - self._first)
        return f"expected training time: {duration(seconds * self._total)}"
