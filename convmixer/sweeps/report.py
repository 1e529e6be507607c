"""Reports a sweep: tables, the command that trains the best trial again, and pictures on one page.

from convmixer.sweeps.report import trials
trials("NAME")               # a pandas table: a row for each trial
"""

import shlex
import sys
import warnings
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from convmixer.console import as_argument, rich_console
from convmixer.errors import TrainingFault
from convmixer.files.atomic import write_atomically, written_whole
from convmixer.sweeps import storage

if TYPE_CHECKING:
    import pandas as pd

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def trials(name: str = "last", url: str | None = None) -> "pd.DataFrame":
    """A row for each trial: state, value (a pruned one's last), deviation, epochs, seconds, searched keys, runs.

    Raises:
        UserError: there is no such sweep.
    """
    return table(storage.load(name, url))


def table(study: optuna.Study) -> "pd.DataFrame":
    """The same, of a study."""
    import pandas as pd

    found = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
    names = list(study.user_attrs["settings"]["searched"])
    rows = [_row(t, names) for t in found]
    columns = ["trial", "state", "value", "deviation", "epochs", "seconds", *names, "runs", "reason", "log"]
    return pd.DataFrame(rows, columns=columns)


def _row(trial: FrozenTrial, names: list[str]) -> list[Any]:
    attributes = trial.user_attrs
    seconds = round(trial.duration.total_seconds(), 1) if trial.duration else None
    params = ["" if name not in trial.params else _plain(trial.params[name]) for name in names]
    runs = " ".join(uuid[:8] for uuid in attributes.get("runs", []))
    told = [attributes.get("deviation"), trial.last_step, seconds]
    return [trial.number, STATES[trial.state], trial.value, *told, *params, runs, *_failure(attributes)]


def _failure(attributes: dict[str, Any]) -> list[str]:
    return [attributes.get("reason", ""), attributes.get("log", "")]


def _plain(value: Any) -> Any:
    return "none" if value is None else value


def value_text(value: float) -> str:
    """A metric, short."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def best_command(study: optuna.Study) -> str | None:
    """The exact command that trains the best trial again; none where no trial is complete."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return None
    settings = study.user_attrs["settings"]
    given = settings["fixed"] | study.best_params | {"seed": settings["seeds"][0]}
    if len(settings["seeds"]) > 1:
        given["seeds"] = len(settings["seeds"])
    arguments = [as_argument(name, value) for name, value in given.items()]
    return " ".join(["python", shlex.quote(study.user_attrs["script"]), *map(shlex.quote, arguments)])


def evaluator() -> optuna.importance.BaseImportanceEvaluator:
    """fANOVA (Hutter et al., ICML 2014), over all complete trials.

    Optuna's default, PED-ANOVA, compares the best tenth with the rest: of 20 trials that is two at most, and what
    decides between the others is not seen.
    """
    return optuna.importance.FanovaImportanceEvaluator(seed=0)


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each searched key in what decides the objective, 1 in all; empty where too little is known."""
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator())
    except (ValueError, RuntimeError, ZeroDivisionError):  # fewer than two complete trials, or all alike
        return {}


def write(study: optuna.Study) -> list[Path]:
    """Write the page, the pictures and the table to the study's folder.

    Raises:
        TrainingFault: they can't be written.
    """
    folder = storage.sweeps_folder() / study.study_name
    try:
        return _write(study, folder)
    except OSError as error:
        raise TrainingFault(f"{error.filename or folder}: can't be written: {error.strerror}") from error


def _write(study: optuna.Study, folder: Path) -> list[Path]:
    write_atomically(folder / "trials.csv", table(study).to_csv(index=False).encode())
    write_atomically(folder / "report.html", _page(study).encode())
    return [folder / "report.html", folder / "trials.csv", *_pictures(study, folder)]


PLOTS = {
    "history": "plot_optimization_history",
    "importance": "plot_param_importances",
    "parallel": "plot_parallel_coordinate",
    "slices": "plot_slice",
    "epochs": "plot_intermediate_values",
}
TITLES = {
    "history": "History: every trial, and the best so far",
    "importance": "Importance of each key",
    "parallel": "Parallel coordinates",
    "slices": "Slices: each key against the objective",
    "epochs": "The objective by epoch",
}


def _options(plot: str) -> dict[str, Any]:
    return {"evaluator": evaluator()} if plot == "importance" else {}


def _page(study: optuna.Study) -> str:
    """One HTML page that needs nothing else: plotly's code is in it."""
    import optuna.visualization
    import plotly.io

    sections, code = [], True
    for name, function in PLOTS.items():
        figure = _drawn(partial(getattr(optuna.visualization, function), study, **_options(name)))
        body = "<p>Too few complete trials for this one.</p>"
        if figure is not None:
            figure.update_layout(title=None, margin={"t": 30})
            body = plotly.io.to_html(figure, full_html=False, include_plotlyjs=code, config={"displaylogo": False})
            code = False
        sections.append(f"<h2>{TITLES[name]}</h2>\n{body}")
    rows = table(study).to_html(index=False, na_rep="", border=0, float_format=lambda x: f"{x:.6g}")
    command = best_command(study)
    again = f"<h2>Train the best again</h2>\n<pre>{escape(command)}</pre>" if command else ""
    return _PAGE.format(name=escape(study.study_name), summary=escape(summary(study)), again=again,
                        sections="\n".join(sections), table=rows)  # fmt: skip


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sweep {name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }}
pre {{ background: #f4f4f4; padding: .8em; overflow-x: auto; white-space: pre-wrap }}
table {{ border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }}
th, td {{ padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }}
</style></head><body>
<h1>Sweep {name}</h1>
<p>{summary}</p>
{again}
{sections}
<h2>Trials</h2>
{table}
</body></html>
"""


def _drawn(draw: Callable[[], Any]) -> Any:
    """A figure, or none where Optuna says that the trials are too few or all alike."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental calls, axes with a single value
            return draw()
    except (ValueError, RuntimeError, ZeroDivisionError, IndexError):
        return None


def _pictures(study: optuna.Study, folder: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import optuna.visualization.matplotlib as drawing

    files = []
    for name, function in PLOTS.items():
        axes = _drawn(partial(getattr(drawing, function), study, **_options(name)))
        if axes is not None:
            figure = plt.gcf()
            figure.set_size_inches(max(8, 2.6 * len(figure.axes)), 5)
            with written_whole(folder / f"{name}.png", "wb") as file:
                figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
            files.append(folder / f"{name}.png")
        plt.close("all")
    return files


def summary(study: optuna.Study) -> str:
    """A line: what was sought, how many trials there are, the best."""
    settings = study.user_attrs["settings"]
    found = study.get_trials(deepcopy=False)
    counts = {text: sum(t.state == state for t in found) for state, text in STATES.items()}
    counted = ", ".join(f"{n} {text}" for text, n in counts.items() if n)
    sought = f"{settings['direction']} {settings['objective']} over {', '.join(settings['searched'])}"
    text = f"{sought}: {counted or 'no trials'}"
    if not counts["complete"]:
        return text
    deviation = study.best_trial.user_attrs.get("deviation")
    spread = f" ± {value_text(deviation)} over {len(settings['seeds'])} seeds" if deviation is not None else ""
    return f"{text}; best {value_text(study.best_value)}{spread} (trial {study.best_trial.number})"


def show(study: optuna.Study) -> None:
    """Print the table, importances and the best command, and draw the page and pictures."""
    from rich import box
    from rich.table import Table

    rows = table(study)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    hidden = [name for name in ("runs", "log", "reason", "deviation") if not rows[name].any()] + ["log"]
    rows = rows.drop(columns=hidden)
    for column in rows.columns:
        shown.add_column(column)
    for row in rows.itertuples(index=False):
        shown.add_row(*map(_cell, row))
    console = rich_console(width=None if sys.stdout.isatty() else 240, markup=False, emoji=False)
    print(f"sweep {study.study_name}: {summary(study)}")
    console.print(shown)
    decided = ", ".join(f"{name} {share:.0%}" for name, share in importances(study).items())
    print(f"importance: {decided or 'too few complete trials'}")
    if command := best_command(study):
        print(f"the best again: {command}")
    print("report: " + "\n        ".join(map(str, write(study))))


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
