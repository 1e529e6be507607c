"""One SQLite file in MongoDB's place. It is an index: everything in it can be read from the run folders again."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from labml_db import Key
from labml_db.driver import DbDriver
from labml_db.index_driver import IndexDbDriver

_SCHEMA = "CREATE TABLE IF NOT EXISTS entries (kind TEXT, key TEXT, data TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID"


class Store:
    """JSON values by kind and key; each change is a transaction."""

    def __init__(self, path: Path) -> None:
        try:
            self._connection = _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked or not writable; the file itself may be sound
            for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
                file.unlink(missing_ok=True)
            self._connection = _open(path)

    def close(self) -> None:
        """Write back the journal."""
        self._connection.close()

    def get(self, kind: str, key: str) -> Any:
        """The value, or None."""
        row = self._connection.execute("SELECT data FROM entries WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return row and json.loads(row[0], object_hook=_decode)

    def set(self, kind: str, key: str, value: Any) -> None:
        """Keep a value."""
        data = json.dumps(value, default=_encode)
        self._connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (kind, key, data))

    def delete(self, kind: str, key: str) -> None:
        """Forget a value."""
        self._connection.execute("DELETE FROM entries WHERE kind = ? AND key = ?", (kind, key))

    def keys(self, kind: str) -> list[str]:
        """All keys of a kind."""
        return [key for (key,) in self._connection.execute("SELECT key FROM entries WHERE kind = ?", (kind,))]


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_SCHEMA)
    if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
        connection.close()
        raise sqlite3.DatabaseError(f"{path} is damaged")
    return connection


def _encode(value: object) -> dict[str, Any]:
    if isinstance(value, Key):
        return {"__key__": str(value)}
    if isinstance(value, set):
        return {"__set__": sorted(value)}
    raise TypeError(f"{type(value).__name__} can't be stored")


def _decode(value: dict[str, Any]) -> Any:
    if "__key__" in value:
        return Key(value["__key__"])
    return set(value["__set__"]) if "__set__" in value else value


class StoredModels(DbDriver):
    """labml_db's driver of one model over the store."""

    def __init__(self, model: type, store: Store) -> None:
        super().__init__(None, model)
        self._store = store

    def load_dict(self, key: str) -> dict[str, Any] | None:
        return self._store.get(self.model_name, key)

    def mload_dict(self, key: list[str]) -> list[dict[str, Any] | None]:
        return [self.load_dict(k) for k in key]

    def save_dict(self, key: str, data: dict[str, Any]) -> None:
        self._store.set(self.model_name, key, data)

    def msave_dict(self, key: list[str], data: list[dict[str, Any]]) -> None:
        for k, d in zip(key, data, strict=True):
            self.save_dict(k, d)

    def delete(self, key: str) -> None:
        self._store.delete(self.model_name, key)

    def get_all(self) -> list[str]:
        return self._store.keys(self.model_name)


class StoredIndex(IndexDbDriver):
    """labml_db's driver of one index over the store."""

    def __init__(self, index: type, store: Store) -> None:
        super().__init__(index)
        self._store = store

    def get(self, index_key: str) -> str | None:
        return self._store.get(self.index_name, index_key)

    def mget(self, index_key: list[str]) -> list[str | None]:
        return [self.get(k) for k in index_key]

    def set(self, index_key: str, model_key: str) -> None:
        self._store.set(self.index_name, index_key, model_key)

    def delete(self, index_key: str) -> None:
        self._store.delete(self.index_name, index_key)

    def get_all(self) -> list[str]:
        return [self.get(k) for k in self._store.keys(self.index_name)]
