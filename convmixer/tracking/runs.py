"""Reads runs from their folders, also running ones, for notebooks, `runs`, `resume` and `evaluate`.

from convmixer.tracking.runs import run, runs
runs()                       # a table of all runs
run("last").metrics          # a pandas table: a row for each step, a column for each metric

It does not import labml, whose logger fails in notebooks with IPython 9.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convmixer.console import as_arguments, counted, printable, shortened
from convmixer.errors import UserError
from convmixer.project import logs_folder
from convmixer.tracking.facts import facts
from convmixer.tracking.histograms import is_of_layer
from convmixer.tracking.recorded_run import Run
from convmixer.tracking.run_folder import check_folder

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("convmixer")


def all_runs(logs: Path | None = None) -> list[Run]:
    """Return all runs, oldest first."""
    found = [f.parent for f in (logs or logs_folder()).glob("*/*/configs.yaml") if (f.parent / "run.yaml").exists()]
    return [Run(folder) for folder in sorted(found, key=lambda f: (_begun(f), f.name))]


def _begun(folder: Path) -> float:
    return (folder / "run.yaml").stat().st_mtime


def run(reference: str = "last", logs: Path | None = None) -> Run:
    """Find a run by its uuid, a unique beginning of it, `last` or `best`.

    `last` is the run that was begun or resumed last. `best` is the best of the runs that have ended on the same data as
    the last of them, by its metric: validation accuracy, or test accuracy if that run had no validation split. A line
    says which run it is.

    Raises:
        UserError: there is no such run, or more than one.
    """
    found = find(reference, logs)
    check_folder(found.folder)
    return found


def find(reference: str, logs: Path | None = None) -> Run:
    """Find a run as `run` does; its folder may be damaged, or not safe to use.

    Raises:
        UserError: there is no such run, or more than one.
    """
    found = all_runs(logs)
    if not found:
        raise UserError(f"there are no runs in {logs or logs_folder()}")
    if reference == "last":
        return found[-1]
    if reference == "best":
        return _best(found)
    matching = [r for r in found if r.uuid.startswith(reference)]
    if len(matching) != 1 or not reference:
        what = f"{len(matching)} runs begin with" if matching else "there is no run"
        raise UserError(f"{what} {shortened(reference)!r}, expected a uuid, a unique prefix, last or best")
    return matching[0]


def _best(found: list[Run]) -> Run:
    summaries = {r: _summary_if_sound(r) for r in found}
    ended = {r: summary for r, summary in summaries.items() if any(metric in summary for metric in DECIDING)}
    if not ended:
        raise UserError("no run has ended with an accuracy yet")
    last = list(ended.values())[-1]
    metric = next(metric for metric in DECIDING if metric in last)
    rivals = {r: s for r, s in ended.items() if s.get("data") == last.get("data") and s.get(metric) is not None}
    best = max(rivals, key=lambda r: rivals[r][metric])
    others = len(ended) - len(rivals)
    others = counted(len(ended) - len(rivals), "run")
    log.warning(  # on standard error: what the command prints may be piped
        f"best: run {best.uuid[:8]} with {rivals[best][metric]:.2%} {metric} on {last.get('data')}, "
        f"the best of {counted(len(rivals), 'run')}" + ("" if others[0] == "0" else f" ({others} not compared)")
    )
    return best


DECIDING = ("accuracy.valid", "accuracy.test")  # the metric of `best`: the first of them that a run has


def _summary_if_sound(r: Run) -> dict[str, Any]:
    """Return a run's summary, empty if the run is damaged: one damaged run must not hide the others."""
    try:
        check_folder(r.folder)
        return r.summary
    except UserError:
        return {}


def runs(logs: Path | None = None) -> "pd.DataFrame":
    """Return a table of all runs, oldest first: how far they are, the given keys, and the results."""
    import pandas as pd

    columns = ["run", "name", "date", "status", "data", "epochs", "valid", "test", "given"]
    return pd.DataFrame([_row(r) for r in all_runs(logs)], columns=columns)


def _row(r: Run) -> list[Any]:
    found = facts(r)
    text = found.known["problem"] or as_arguments(found.known["given"])
    told = ("name", "date", "status", "data", "epochs_done", "accuracy.valid", "accuracy.test")
    return [_cell(value) for value in (r.uuid[:8], *(found.known[name] for name in told), text)]


def _cell(value: Any) -> Any:
    """Return a value for a table, text as `printable`: PyArrow, if pandas has it, takes no half of a surrogate pair."""
    return printable(value) if isinstance(value, str) else value


ENDED = ("accuracy.test", "accuracy.valid", "seconds", "parameters", "device")


def compare(runs: list[Run]) -> "pd.DataFrame":
    """Return a table with a column for each run: status, images seen, latest value of each metric, final results.

    Metrics of single layers are left out: `notebook.layers` shows them.
    """
    import pandas as pd

    return pd.DataFrame({_cell(r.uuid[:8]): _standing(r) for r in runs})


def _standing(r: Run) -> dict[str, Any]:
    metrics = r.metrics
    metrics = metrics[[name for name in metrics if not is_of_layer(name)]]
    latest = {} if metrics.empty else {"images": metrics.index.max(), **metrics.sort_index().ffill().iloc[-1]}
    summary = r.summary
    ended = {f"{name} (end)": _cell(summary[name]) for name in ENDED if name in summary}
    return {"name": r.info["name"], "status": _cell(r.status), **latest, **ended}


def differences(runs: list[Run]) -> "pd.DataFrame":
    """Return a table of the keys whose values differ: a row for each key, a column for each run.

    Of a single run, these are the keys that were given.
    """
    import pandas as pd

    if len(runs) == 1:
        return pd.DataFrame({_cell(runs[0].uuid[:8]): pd.Series(runs[0].given, dtype=object)})
    recorded = {_cell(r.uuid[:8]): r.recorded for r in runs}
    texts = {name: {str(values[name]) for values in recorded.values() if name in values} for name in _names(runs)}
    objects = {name for name, found in texts.items() if any("\n" in text for text in found)}  # set in code
    differing = [name for name, found in texts.items() if len(found) > 1 and name not in objects]
    columns = {uuid: [values.get(name) for name in differing] for uuid, values in recorded.items()}
    return pd.DataFrame(columns, index=differing, dtype=object)


def _names(runs: list[Run]) -> list[str]:
    """Return the names of all keys of the runs, in their order."""
    return list(dict.fromkeys(name for r in runs for name in r.recorded))
