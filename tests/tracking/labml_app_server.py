"""labml-app's own server, as it takes runs in, with its data in memory in MongoDB's place.

labml_app_server.py PORT
"""

import copy
import os
import sys
from typing import Any

os.environ |= {"LABML_APP_SERVER_IP": "127.0.0.1", "LABML_APP_SERVER_PORT": sys.argv[1]}

import uvicorn
from labml_app import db
from labml_db import Index, Model

from convmixer.dashboard.storage import StoredIndex, StoredModels


class Memory:
    """What the drivers need of a store."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], Any] = {}

    def get(self, kind: str, key: str) -> Any:
        return copy.deepcopy(self._values.get((kind, key)))

    def set(self, kind: str, key: str, value: Any) -> None:
        self._values[kind, key] = copy.deepcopy(value)

    def delete(self, kind: str, key: str) -> None:
        self._values.pop((kind, key), None)

    def keys(self, kind: str) -> list[str]:
        return [key for k, key in self._values if k == kind]


def begin() -> None:
    """What labml-app does to MongoDB when it starts."""
    memory = Memory()
    Model.set_db_drivers([StoredModels(model, memory) for model in db.models])
    Index.set_db_drivers([StoredIndex(index, memory) for index in db.indexes])
    db.project.create_project(db.settings.FLOAT_PROJECT_TOKEN, "float project")


db.init_mongo_db = begin

if __name__ == "__main__":
    from labml_app.flask_app import app

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
