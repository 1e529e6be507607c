"""Reads runs from their folders, also running ones, for notebooks, `runs`, `resume` and `evaluate`.

from convmixer.tracking.runs import run, runs
runs()                       # a table of all runs
run("last").metrics          # a pandas table: a row for each step, a column for each metric

It does not import labml, whose logger fails in notebooks with IPython 9.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convmixer.errors import UserError
from convmixer.files.locks import is_held
from convmixer.files.untrusted import parse_json, read_json, read_tail, read_yaml, wrong_values
from convmixer.project import logs_folder
from convmixer.tracking.run_folder import LOCK, LOG, LONGEST_LINE, RUN_LOG, SUMMARY, check_folder, read_log

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A run read from its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uuid = folder.name

    @cached_property
    def info(self) -> dict[str, Any]:
        """labml's `run.yaml`: name, comment, tags, date, time, commit. Raises UserError if it is damaged."""
        info = self._yaml("run.yaml")
        info = {name: kind() for name, kind in INFO.items()} | {k: v for k, v in info.items() if v is not None}
        wrong = wrong_values(info, INFO)
        if wrong or not all(isinstance(tag, str) for tag in info["tags"]):
            raise UserError(f"{self.folder / 'run.yaml'}: {(wrong or ['tags'])[0]} has the wrong type")
        return info

    @cached_property
    def labml_configs(self) -> dict[str, dict[str, Any]]:
        """labml's `configs.yaml`: for each key its value, whether it was given, whether it is a hyperparameter."""
        configs = self._yaml("configs.yaml")
        for name, item in configs.items():
            if not isinstance(name, str) or not isinstance(item, dict) or not item.keys() >= ITEM:
                raise UserError(f"{self.folder / 'configs.yaml'}: {str(name)[:60]} is not the record of a key")
        return configs

    @property
    def configs(self) -> dict[str, Any]:
        """Each key's value: the name of an option, or the number that it resulted in."""
        return {
            name: item["computed"] if isinstance(item["computed"], int | float) else item["value"]
            for name, item in self.labml_configs.items()
        }

    @property
    def recorded(self) -> dict[str, Any]:
        """Each key's value, as it can be given on the command line."""
        return {name: item["value"] for name, item in self.labml_configs.items()}

    @property
    def given(self) -> dict[str, Any]:
        """The keys that were given, on the command line or in a file."""
        entries = self.labml_configs.items()
        return {name: item["value"] for name, item in entries if item["is_explicitly_specified"]}

    @property
    def summary(self) -> dict[str, Any]:
        """The results at the end of the run; empty if it has not ended. Raises UserError if they are damaged."""
        file = self.folder / SUMMARY
        summary = read_json(file) if file.exists() else {}
        wrong = wrong_values(summary, ENDING)
        if wrong:
            raise UserError(f"{file}: {wrong[0]} has the wrong type")
        return summary

    @property
    def status(self) -> str:
        """The run's status: running, completed, crashed, interrupted, killed; unknown where the folder can't tell."""
        held = is_held(self.folder / LOCK)
        if held:
            return "running"
        if (self.folder / SUMMARY).exists():  # which is written last
            return "completed"
        without_an_end = "unknown" if held is None else "killed"  # another user's run may still be running
        try:
            lines = read_tail(self.folder / RUN_LOG, LONGEST_LINE).splitlines()
            return str(parse_json(lines[-1])["status"]) if lines else without_an_end
        except FileNotFoundError:
            return without_an_end
        except (OSError, UserError, ValueError, TypeError, KeyError):
            return "unknown"

    def is_running(self) -> bool:
        """Return True if a process on this machine, perhaps another user's, is training this run now."""
        return bool(is_held(self.folder / LOCK))

    @property
    def metrics(self) -> "pd.DataFrame":
        """A table with a row for each step (training images seen) and a column for each metric."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.points, orient="index").rename_axis("step")

    @property
    def points(self) -> dict[int, dict[str, float]]:
        """The metrics that were measured at each step (training images seen)."""
        rows: dict[int, dict[str, float]] = {}
        for line in read_log(self.folder / LOG):
            for name, points in line["track"].items():
                for step, values in points:
                    rows.setdefault(step, {})[name] = sum(values) / len(values)
        return rows

    def checkpoint(self, name: str) -> Path:
        """Return the path of the checkpoint `last` or `best`."""
        return self.folder / "checkpoints" / f"{name}.pt"

    def _yaml(self, name: str) -> dict[str, Any]:
        file = self.folder / name
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: expected a mapping")
        return content


# The entries that are used of labml's `run.yaml`, of an item of its `configs.yaml`, and of a summary, with their types.
INFO = {**dict.fromkeys(("name", "comment", "trial_date", "trial_time", "python_file", "commit"), str), "tags": list}
INFO |= {"is_dirty": bool}
ITEM = {"value", "computed", "is_explicitly_specified"}
ENDING = {"data": str, "weights": str, **dict.fromkeys(("epochs", "accuracy.valid", "accuracy.test"), int | float)}


def all_runs(logs: Path | None = None) -> list[Run]:
    """Return all runs, oldest first."""
    found = [f.parent for f in (logs or logs_folder()).glob("*/*/configs.yaml") if (f.parent / "run.yaml").exists()]
    return [Run(folder) for folder in sorted(found, key=lambda f: (_begun(f), f.name))]


def _begun(folder: Path) -> float:
    return (folder / "run.yaml").stat().st_mtime


def run(reference: str = "last", logs: Path | None = None) -> Run:
    """Find a run by its uuid, a unique beginning of it, `last` or `best`.

    `last` is the run that was begun or resumed last. `best` has the highest validation accuracy; all runs must have the
    same data set.

    Raises:
        UserError: there is no such run, or more than one.
    """
    found = all_runs(logs)
    if not found:
        raise UserError(f"there are no runs in {logs or logs_folder()}")
    if reference == "last":
        return _checked(found[-1])
    if reference == "best":
        return _checked(_best(found))
    matching = [r for r in found if r.uuid.startswith(reference)]
    if len(matching) != 1:
        what = f"{len(matching)} runs begin with" if matching else "there is no run"
        raise UserError(f"{what} {reference!r}, expected a uuid, a unique prefix, last or best")
    return _checked(matching[0])


def _checked(found: Run) -> Run:
    check_folder(found.folder)
    return found


def _best(found: list[Run]) -> Run:
    summaries = {r: _summary_if_sound(r) for r in found}
    ended = [r for r, summary in summaries.items() if summary.get("accuracy.valid") is not None]
    if not ended:
        raise UserError("no run has ended with a validation accuracy yet")
    data = sorted({summaries[r]["data"] for r in ended})
    if len(data) > 1:
        raise UserError(f"there are runs on {', '.join(data)}: name one by its uuid, not `best`")
    return max(ended, key=lambda r: summaries[r]["accuracy.valid"])


def _summary_if_sound(r: Run) -> dict[str, Any]:
    """Return a run's summary, empty if the run is damaged: one damaged run must not hide the others."""
    try:
        return _checked(r).summary
    except UserError:
        return {}


def runs(logs: Path | None = None) -> "pd.DataFrame":
    """Return a table of all runs, oldest first: the given keys, and the results."""
    import pandas as pd

    columns = ["run", "name", "date", "status", "data", "epochs", "valid", "test", "given"]
    rows = [_row(r) for r in all_runs(logs)]
    return pd.DataFrame(rows, columns=columns)


def _row(r: Run) -> list[Any]:
    try:
        check_folder(r.folder)
        date = f"{r.info['trial_date']} {r.info['trial_time'][:5]}"
        given = " ".join(f"{name}={value}" for name, value in r.given.items())
        summary = r.summary
        ended = [summary.get(key) for key in ("data", "epochs", "accuracy.valid", "accuracy.test")]
        return [r.uuid[:8], r.info["name"], date, r.status, *ended, given]
    except UserError as error:  # one damaged run must not hide the others
        return [r.uuid[:8], r.folder.parent.name, None, "damaged", None, None, None, None, str(error)]


ENDED = ("accuracy.test", "accuracy.valid", "seconds", "parameters", "device")


def compare(runs: list[Run]) -> "pd.DataFrame":
    """Return a table with a column for each run: status, images seen, latest value of each metric, final results."""
    import pandas as pd

    return pd.DataFrame({r.uuid[:8]: _standing(r) for r in runs})


def _standing(r: Run) -> dict[str, Any]:
    metrics = r.metrics
    latest = {} if metrics.empty else {"images": metrics.index.max(), **metrics.sort_index().ffill().iloc[-1]}
    summary = r.summary
    ended = {f"{name} (end)": summary[name] for name in ENDED if name in summary}
    return {"name": r.info["name"], "status": r.status, **latest, **ended}


def differences(runs: list[Run]) -> "pd.DataFrame":
    """Return a table of the keys whose values differ: a row for each key, a column for each run.

    Of a single run, these are the keys that were given.
    """
    import pandas as pd

    if len(runs) == 1:
        return pd.DataFrame({runs[0].uuid[:8]: pd.Series(runs[0].given, dtype=object)})
    configs = pd.DataFrame({r.uuid[:8]: pd.Series(r.recorded, dtype=object) for r in runs})
    texts = configs.map(str, na_action="ignore")
    objects = texts.map(lambda text: "\n" in str(text)).any(axis=1)  # objects set in code, not on the command line
    return configs[(texts.nunique(axis=1) > 1) & ~objects]
