"""Shows a sweep while it runs: a table that follows it on a terminal, one plain line a trial elsewhere."""

import sys
import time

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from convmixer.console import duration, rich_console, say
from convmixer.sweeps.report import STATES, value_text
from convmixer.sweeps.study import Sweep
from convmixer.sweeps.trial import ActiveTrial

REFRESH = 1.0  # seconds
SHOWN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


class Screen:
    """Shows a sweep while it is entered."""

    def __init__(self, sweep: Sweep, width: int, quiet: bool) -> None:
        self._sweep = sweep
        self._width = width
        self._quiet = quiet
        self._is_terminal = sys.stdout.isatty() and not quiet
        self._live = Live(console=rich_console(), auto_refresh=False, transient=True) if self._is_terminal else None
        self._shown_at = 0.0
        self._seconds: list[float] = []

    def __enter__(self) -> "Screen":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def ended(self, trial: FrozenTrial) -> None:
        """A line for a trial that has ended."""
        self._seconds.append((trial.datetime_complete - trial.datetime_start).total_seconds())
        if self._quiet:
            return
        line = f"trial {trial.number:3} {STATES[trial.state]:8} {_result(trial)}  ({_point(trial)})"
        if self._live:
            self._live.console.print(line, markup=False, emoji=False, highlight=False)
        else:
            say(f"{line}; {self._standing()}")

    def looked(self, active: list[ActiveTrial]) -> None:
        """The table, once a second."""
        if self._live and time.monotonic() - self._shown_at > REFRESH:
            self._shown_at = time.monotonic()
            self._live.update(self._table(active), refresh=True)

    def _table(self, active: list[ActiveTrial]) -> Group:
        table = Table("trial", "epoch", "point", box=None, pad_edge=False)
        for a in active:
            point = " ".join(f"{name}={_short(value)}" for name, value in a.point.items())
            table.add_row(str(a.number), str(a.epochs) if a.has_begun else "waiting", point)
        return Group(table, Text(self._standing()))

    def _standing(self) -> str:
        trials = self._sweep.study.get_trials(deepcopy=False)
        counts = {s: sum(t.state == s for t in trials) for s in TrialState}
        told = ", ".join(f"{counts[s]} {STATES[s]}" for s in SHOWN)
        left = self._left(sum(t.state.is_finished() for t in trials))
        return f"{best_text(self._sweep.study)}; {told} of {self._sweep.total}; {left}"

    def _left(self, ended: int) -> str:
        rest = self._sweep.total - ended
        if not self._seconds or not rest:
            return "all trials have ended" if not rest else "time left unknown"
        return f"about {duration(rest * sum(self._seconds) / len(self._seconds) / self._width)} left"


def best_text(study: optuna.Study) -> str:
    """The best trial so far, in words."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return "no best yet"
    best = study.best_trial
    return f"best {value_text(best.value)} (trial {best.number})"


def _result(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return f"{trial.user_attrs.get('reason', '')} [{trial.user_attrs.get('log', '')}]"
    if trial.value is None:
        return ""
    deviation = trial.user_attrs.get("deviation")
    text = value_text(trial.value) + (f" ± {value_text(deviation)}" if deviation is not None else "")
    if "same_as" in trial.user_attrs:
        return f"{text}, known from trial {trial.user_attrs['same_as']}"
    return text + (f" after epoch {trial.last_step}" if trial.state == TrialState.PRUNED else "")


def _point(trial: FrozenTrial) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in trial.params.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
