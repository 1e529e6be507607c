"""Run folders as labml-app's models: for each model, how it is read from a run, and what is kept of what is saved.

A model's key names its run, and may name a part of it: `Model:uuid`, `Model:uuid.part`. What users change on the pages
goes to the run's `dashboard.json`; charts are kept there by the names of their metrics, as labml-app's positions shift
whenever a metric is new.
"""

import html
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from labml_db import Key

from convmixer.console import duration
from convmixer.dashboard.followed_run import FollowedRun
from convmixer.dashboard.json_values import plain_text
from convmixer.dashboard.series import thin
from convmixer.files.untrusted import is_number
from convmixer.tracking.live_changes import shown

CHARTS = {  # beside "Metrics", which shows the losses; in this order
    "accuracy": ("Accuracy", "accuracy."),
    "learning_rate": ("Learning rate", "optim."),
    "images_per_second": ("Images per second", "time.images_per_second"),
    "weights": ("Weights by layer", "param."),
    "gradients": ("Gradients by layer", "grad."),
    "activations": ("Activations by layer", "activation."),
}
MOST_SHOWN = 20  # metrics of a chart, until a user chooses: layers evenly spaced, the first and the last
LISTED = ("accuracy.test", "accuracy.valid", "loss.valid", "accuracy.train", "loss.train")
RESULTS = (  # of a run's summary: name, title, how its value is shown
    ("accuracy.test", "test accuracy", "{:.2%}".format),
    ("accuracy.valid", "valid accuracy", "{:.2%}".format),
    ("loss.test", "test loss", "{:.4g}".format),
    ("loss.valid", "valid loss", "{:.4g}".format),
    ("epochs", "epochs", "{:.4g}".format),
    ("images", "training images", "{:,.0f}".format),
    ("seconds", "training time", duration),
    ("images_per_second", "images per second", "{:,.0f}".format),
    ("parameters", "parameters", "{:,.0f}".format),
)
_JOINER = "\u2060"  # a character that is not seen
HEADLINE = ("name", "comment")  # keys that a run shows in its headline
PAGE = 3000  # characters of a page of console output

Data = dict[str, Any]
Read = Callable[[FollowedRun, str], Data | None]
Write = Callable[[FollowedRun, str, Data], None]

_EDITABLE = {"name": str, "comment": str, "note": str, "favourite_configs": list, "selected_configs": list}


def run_data(run: FollowedRun, part: str = "") -> Data:
    """labml-app's `Run`."""
    info, edits = run.info, run.edits
    given = [key for key, item in run.configs.items() if item.get("is_explicitly_specified") and key not in HEADLINE]
    tuned = [key for key, item in run.configs.items() if item.get("is_hyperparam")]
    return {
        "run_uuid": run.uuid,
        "name": _heading(edits.get("name", str(info.get("name") or ""))),
        "comment": _comment(run),
        "note": edits.get("note", str(info.get("notes") or "")),
        "tags": _tags(run),
        "start_time": run.start_time,
        "start_step": info.get("start_step", 0),
        "python_file": str(info.get("python_file") or ""),
        "repo_remotes": info.get("repo_remotes") or [],
        "commit": str(info.get("commit") or ""),
        "commit_message": str(info.get("commit_message") or ""),
        "configs": run.configs | _changed_configs(run),
        "favourite_configs": edits.get("favourite_configs", given),
        "selected_configs": edits.get("selected_configs", sorted({*given, *tuned})),
        "size": run.size,
        "size_checkpoints": run.size_checkpoints,
        "parent_folder": "archive" if edits.get("archived", False) else "default",
        "session_id": run.uuid if run.has_hardware else "",
        "status": Key(f"Status:{run.uuid}"),
        "owner": "local",
    }


def _comment(run: FollowedRun) -> str:
    return _heading(run.edits.get("comment", str(run.info.get("comment") or "")))


def _tags(run: FollowedRun) -> list[str]:
    return sorted(str(tag) for tag in run.info.get("tags") or [])


def _changed_configs(run: FollowedRun) -> Data:
    """Return the configs whose values were changed while the run trained, with the last change as the value."""
    told = {c.key: f"{shown(c.value)} from update {c.update} on (was {shown(c.was)})" for c in run.changes}
    return {key: run.configs[key] | {"computed": plain_text(told[key])} for key in told if key in run.configs}


def _heading(text: str) -> str:
    """A text that the page does not take for a CSS selector: one that begins with . or # breaks its lists."""
    return _JOINER + text if text.startswith((".", "#")) else text


def base_of_comparison(run: FollowedRun) -> str:
    """Return the uuid of the run that this one is compared with, or nothing."""
    options = run.edits.get("comparison:", {}).get("options")
    base = options.get("base_experiment") if isinstance(options, dict) else None
    return base if isinstance(base, str) else ""


def list_item(run: FollowedRun) -> Data:
    """Return what the list shows beside a run's name: uuid, comment and tags, images trained on, what it reached."""
    reached = run.latest | {name: value for name, value in run.summary.items() if name.startswith("accuracy.")}
    values = [(name, reached[name]) for name in LISTED if _is_finite(reached.get(name))]
    return {
        "comment": " · ".join(text for text in (run.uuid[:8], _comment(run), *_tags(run)) if text),
        "step": run.latest_step,
        "metric_values": [{"name": name, "value": value} for name, value in values],
    }


def results(run: FollowedRun) -> list[tuple[str, str]]:
    """Return the table that a run ends with, as pairs of name and text; nothing before its end."""
    found = [(title, run.summary.get(name), text) for name, title, text in RESULTS]
    return [(title, text(value)) for title, value, text in found if _is_finite(value)]


def _is_finite(value: Any) -> bool:
    return is_number(value) and not isinstance(value, bool) and math.isfinite(value)


def _write_run(run: FollowedRun, part: str, data: Data) -> None:
    for name, kind in _EDITABLE.items():
        value = data.get(name, kind())
        if not isinstance(value, kind) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name}: expected {'text' if kind is str else 'a list of keys'}")
    edits = run.edits
    for name, kind in _EDITABLE.items():
        now = run_data(run)[name]
        value = data.get(name, kind())
        if value != now:
            edits.set(name, value.lstrip(_JOINER) if isinstance(value, str) else value, None)
    edits.set("archived", data.get("parent_folder") == "archive", False)


def _status(run: FollowedRun, part: str) -> Data:
    return {"last_updated_time": run.last_recorded, "run_status": Key(f"RunStatus:{run.uuid}")}


def _run_status(run: FollowedRun, part: str) -> Data:
    return {"status": run.status, "time": run.last_recorded}


def _metrics(run: FollowedRun, part: str) -> Data:
    series = run.metrics.series
    return {"tracking": {name: _track(s) for name, s in series.items()}, "indicators": set(series)}


def _hardware(kind: str) -> Read:
    def read(run: FollowedRun, part: str) -> Data:
        series = run.hardware.series
        return {"tracking": {name: _track(s) for name, s in series.items() if name.startswith(f"{kind}.")}}

    return read


def _track(series: tuple) -> Data:
    steps, values = thin(series)
    return {"step": steps, "value": values, "last_step": steps}


def _chosen(edit: str) -> tuple[Read, Write]:
    """Choose which metrics a chart shows; the part of the key names a further chart, none is "Metrics"."""

    def read(run: FollowedRun, part: str) -> Data:
        kept = run.edits.get(f"{edit}:{part}", {})
        names = list(run.metrics.series)
        shown = kept.get("shown", _shown_first(names, part))
        return {**kept.get("options", {}), "series_preferences": [1 if name in shown else -1 for name in names]}

    def write(run: FollowedRun, part: str, data: Data) -> None:
        names = list(run.metrics.series)
        options = {name: value for name, value in data.items() if name != "series_preferences"}
        chosen = data.get("series_preferences", [])
        shown = [name for name, choice in zip(names, chosen, strict=False) if choice == 1]
        kept: Data = {"options": options} if options else {}
        if shown != _shown_first(names, part):
            kept["shown"] = shown
        run.edits.set(f"{edit}:{part}", kept, {})

    return read, write


def _shown_first(names: list[str], part: str) -> list[str]:
    """Choose for a chart, until a user does: the losses, or what the further chart is for."""
    if part == "":
        return [name for name in names if name.startswith("loss.")] or names[:1]
    found = [name for name in names if part in CHARTS and name.startswith(CHARTS[part][1])]
    if len(found) <= MOST_SHOWN:
        return found
    return [found[round(place * (len(found) - 1) / (MOST_SHOWN - 1))] for place in range(MOST_SHOWN)]


def _chart_ids(run: FollowedRun) -> list[str]:
    names = list(run.metrics.series)
    return run.edits.get("charts", [part for part in CHARTS if _shown_first(names, part)])


def _charts(run: FollowedRun, part: str) -> Data:
    return {"metrics": [(chart, Key(f"CustomMetricModel:{run.uuid}.{chart}")) for chart in _chart_ids(run)]}


def _write_charts(run: FollowedRun, part: str, data: Data) -> None:
    run.edits.set("charts", [chart for chart, _ in data.get("metrics", [])], None)


def _chart(run: FollowedRun, part: str) -> Data:
    kept = run.edits.get(f"title:{part}", {})
    # The page puts what was created last first.
    place = len(CHARTS) - list(CHARTS).index(part) if part in CHARTS else 0
    return {
        "name": CHARTS[part][0] if part in CHARTS else "",
        "description": "",
        "created_time": run.start_time + place,
        **kept,
        "metric_id": part,
        "preference_key": Key(f"MetricsPreferencesModel:{run.uuid}.{part}"),
    }


def _write_chart(run: FollowedRun, part: str, data: Data) -> None:
    kept = {name: data.get(name, "") for name in ("name", "description")} | {
        "created_time": data.get("created_time", 0)
    }
    run.edits.set(f"title:{part}", kept, None)


def _edited(model: str) -> tuple[Read, Write]:
    """A model that is nothing but what users changed."""

    def read(run: FollowedRun, part: str) -> Data:
        return run.edits.get(model, {})

    def write(run: FollowedRun, part: str, data: Data) -> None:
        run.edits.set(model, data, {})

    return read, write


@lru_cache(maxsize=8)
def console_pages(text: str) -> list[str]:
    """Cut what a run printed into pages of whole lines, with HTML's characters escaped: the page takes it for HTML."""
    pages = [""]
    for line in text.splitlines(keepends=True):
        if len(pages[-1]) > PAGE:
            pages.append("")
        pages[-1] += html.escape(line, quote=False)
    return pages if pages != [""] else []


def _console(run: FollowedRun, part: str) -> Data:
    pages = [Key(f"LogPageModel:{run.uuid}.{number}") for number in range(len(console_pages(run.console)))]
    return {"log_pages": pages, "wrap_logs": run.edits.get("wrap_logs", True)}


def _write_console(run: FollowedRun, part: str, data: Data) -> None:
    run.edits.set("wrap_logs", data.get("wrap_logs", True), True)


def _console_page(run: FollowedRun, part: str) -> Data:
    return {"logs": console_pages(run.console)[int(part)]}


def _session(run: FollowedRun, part: str) -> Data | None:
    """labml-app's computer: this machine, while the run was on."""
    return {
        "session_uuid": run.uuid,
        "name": "Computer",
        "comment": f"while {run_data(run)['name']} {run.uuid[:8]} was training",
        "start_time": run.start_time,
        "status": Key(f"Status:{run.uuid}"),
    }


def _keep_nothing(run: FollowedRun, part: str, data: Data) -> None:
    """Save nothing: it is read from the folder."""


MODELS: dict[str, tuple[Read, Write]] = {
    "Run": (run_data, _write_run),
    "Status": (_status, _keep_nothing),
    "RunStatus": (_run_status, _keep_nothing),
    "MetricsModel": (_metrics, _keep_nothing),
    "MetricsPreferencesModel": _chosen("chart"),
    "ComparisonPreferencesModel": _chosen("comparison"),
    "CustomMetricsListModel": (_charts, _write_charts),
    "CustomMetricModel": (_chart, _write_chart),
    "StdOutModel": (_console, _write_console),
    "LogPageModel": (_console_page, _keep_nothing),
    "Session": (_session, _keep_nothing),
    **{f"{kind}Model": (_hardware(kind.lower()), _keep_nothing) for kind in ("CPU", "GPU", "Memory", "Disk")},
    **{f"{kind}PreferencesModel": _edited(f"{kind}Preferences") for kind in ("CPU", "GPU", "Memory", "Disk")},
}
