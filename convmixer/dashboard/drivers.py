"""labml_db's drivers over run folders, where labml-app would ask a database.

What labml-app stores besides runs, the user and his theme, goes to the SQLite file.
"""

from collections.abc import Sequence

from labml_db import Index, Key, Model
from labml_db.driver import DbDriver
from labml_db.index_driver import IndexDbDriver

from convmixer.dashboard.followed_run import FollowedRun
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.records import MODELS, Data
from convmixer.dashboard.storage import Store, StoredIndex, StoredModels

PROJECT = "Project:local"
USER = "User:local"


class RunModels(DbDriver):
    """labml_db's driver of a model that is read from run folders."""

    def __init__(self, model: type, follower: Follower) -> None:
        super().__init__(None, model)
        self._follower = follower
        self._read, self._write = MODELS[model.__name__]

    def _run(self, key: str) -> tuple[FollowedRun | None, str]:
        uuid, _, part = key.partition(":")[2].partition(".")
        return self._follower.runs.get(uuid), part

    def load_dict(self, key: str) -> Data | None:
        run, part = self._run(key)
        return self._read(run, part) if run else None

    def mload_dict(self, key: list[str]) -> list[Data | None]:
        return [self.load_dict(k) for k in key]

    def save_dict(self, key: str, data: Data) -> None:
        run, part = self._run(key)
        if run:
            self._write(run, part, data)

    def msave_dict(self, key: list[str], data: list[Data]) -> None:
        for k, d in zip(key, data, strict=True):
            self.save_dict(k, d)

    def delete(self, key: str) -> None:
        """The list of charts says which there are."""


class RunIndex(IndexDbDriver):
    """labml_db's driver of an index from a run's uuid to a model of the run."""

    def __init__(self, index: type, model: str, follower: Follower) -> None:
        super().__init__(index)
        self._model = model
        self._follower = follower

    def get(self, index_key: str) -> str | None:
        return f"{self._model}:{index_key}" if index_key in self._follower.runs else None

    def mget(self, index_key: list[str]) -> list[str | None]:
        return [self.get(k) for k in index_key]

    def set(self, index_key: str, model_key: str) -> None:
        """A run's models are found by its uuid."""


class OneProject(DbDriver):
    """labml-app's project, the one there is, and its two folders of runs."""

    def __init__(self, model: type, follower: Follower) -> None:
        super().__init__(None, model)
        self._follower = follower

    def load_dict(self, key: str) -> Data | None:
        runs = self._follower.runs
        if key == PROJECT:
            return {
                "labml_token": "local",
                "runs": {uuid: Key(f"Run:{uuid}") for uuid in runs},
                "sessions": {uuid: Key(f"Session:{uuid}") for uuid, run in runs.items() if run.has_hardware},
                "folders": {name: Key(f"Folder:{name}") for name in ("default", "archive")},
            }
        name = key.partition(":")[2]
        uuids = {uuid for uuid, run in runs.items() if run.edits.get("archived", False) == (name == "archive")}
        return {"name": name, "run_uuids": uuids}

    def save_dict(self, key: str, data: Data) -> None:
        """Keep nothing: that a run is archived is kept with the run."""


def connect(models: Sequence[type], indexes: Sequence[type], follower: Follower, store: Store) -> None:
    """Give labml-app its database."""
    Model.set_db_drivers([_model_driver(model, follower, store) for model in models])
    Index.set_db_drivers([_index_driver(index, follower, store) for index in indexes])


def _model_driver(model: type, follower: Follower, store: Store) -> DbDriver:
    if model.__name__ in ("Project", "Folder"):
        return OneProject(model, follower)
    return RunModels(model, follower) if model.__name__ in MODELS else StoredModels(model, store)


def _index_driver(index: type, follower: Follower, store: Store) -> IndexDbDriver:
    stem = index.__name__.removesuffix("Index")
    model = next((name for name in (stem, f"{stem}Model") if name in MODELS), None)
    return RunIndex(index, model, follower) if model else StoredIndex(index, store)
