"""Reads one run from its folder, also a running one. It imports no labml, whose logger fails in notebooks."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convmixer.errors import UserError
from convmixer.files.locks import is_held
from convmixer.files.untrusted import parse_json, read_json, read_tail, read_yaml, without_nulls, wrong_values
from convmixer.tracking.live_changes import read_changes
from convmixer.tracking.run_folder import CHANGES, LOCK, LOG, LONGEST_LINE, RUN_LOG, START, SUMMARY, read_log

if TYPE_CHECKING:
    import pandas as pd


def is_dynamic(value: Any) -> bool:
    """Return True if labml recorded one of its dynamic hyperparameters, as a mapping."""
    return isinstance(value, dict) and value.get("type") == "DynamicSchedule"


def typed(value: Any) -> Any:
    """Return a recorded value as it is typed on the command line: of a dynamic hyperparameter the first value."""
    return value.get("default") if is_dynamic(value) else value


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
            name: item["computed"] if isinstance(item["computed"], int | float) else typed(item["value"])
            for name, item in self.labml_configs.items()
        }

    @property
    def recorded(self) -> dict[str, Any]:
        """Each key's value, as it can be given on the command line."""
        return {name: typed(item["value"]) for name, item in self.labml_configs.items()}

    @property
    def given(self) -> dict[str, Any]:
        """The keys that were given, on the command line or in a file."""
        entries = self.labml_configs.items()
        return {name: typed(item["value"]) for name, item in entries if item["is_explicitly_specified"]}

    @property
    def at_end(self) -> dict[str, Any]:
        """Each key's value, with the last ones of labml's dynamic hyperparameters, which parts of the network ask."""
        dynamic = {name for name, item in self.labml_configs.items() if is_dynamic(item["computed"])}
        changes = read_changes(self.folder / CHANGES) if dynamic else []
        return self.recorded | {change.key: change.value for change in changes if change.key in dynamic}

    @property
    def summary(self) -> dict[str, Any]:
        """The results at the end of the run; empty if it has not ended. Raises UserError if they are damaged."""
        return self._json(SUMMARY, ENDING)

    @property
    def start(self) -> dict[str, Any]:
        """The facts of a run that are known when it starts; empty for runs of older versions.

        Raises UserError if they are damaged.
        """
        return self._json(START, BEGINNING)

    @property
    def data(self) -> str | None:
        """The name of the data set; None if it is not known."""
        known = self.summary.get("data") or self.start.get("data")
        recipe = self.recorded.get("recipe")
        tags = [tag for tag in self.info["tags"] if not tag.startswith(OTHER_TAGS)]  # runs of older versions
        return known or next((tag for tag in tags if tag != recipe), None)

    @property
    def sweep(self) -> str | None:
        """The name of the sweep that the run belongs to."""
        named = (tag.removeprefix(SWEEP_TAG) for tag in self.info["tags"] if tag.startswith(SWEEP_TAG))
        return next(named, None)

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

    def _json(self, name: str, types: dict[str, Any]) -> dict[str, Any]:
        file = self.folder / name
        content = read_json(file) if file.exists() else {}
        wrong = wrong_values(content, types)
        if wrong:
            raise UserError(f"{file}: {wrong[0]} has the wrong type")
        return without_nulls(content)

    def _yaml(self, name: str) -> dict[str, Any]:
        file = self.folder / name
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: expected a mapping")
        return content


# The entries that are used of labml's `run.yaml`, of an item of its `configs.yaml`, of `start.json` and of a summary,
# with their types.
INFO = {**dict.fromkeys(("name", "comment", "trial_date", "trial_time", "python_file", "commit"), str), "tags": list}
INFO |= {"is_dirty": bool}
ITEM = {"value", "computed", "is_explicitly_specified"}
BEGINNING = {"data": str, "own": dict, **dict.fromkeys(("train_images", "steps_per_epoch", "total_steps"), int)}
ENDING = {"data": str, "weights": str, **dict.fromkeys(("epochs", "accuracy.valid", "accuracy.test"), int | float)}

SWEEP_TAG = "sweep:"
OTHER_TAGS = (SWEEP_TAG, "seeds:", "job:")  # beside the data set and the recipe
