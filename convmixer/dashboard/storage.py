"""Stands in for MongoDB with one SQLite file. It is an index: all in it can be read from the run folders again."""

import json
import logging
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

from labml_db import Key
from labml_db.driver import DbDriver
from labml_db.index_driver import IndexDbDriver

_SCHEMA = "CREATE TABLE IF NOT EXISTS entries (kind TEXT, key TEXT, data TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID"


log = logging.getLogger("convmixer")


class Store:
    """JSON values by kind and key; each change is a transaction. Threads may share it.

    Where the disk is full or read-only, the index is kept in memory: reading runs needs no disk to write to.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        try:
            self._connection = _open(path)
        except sqlite3.OperationalError as error:
            log.warning("%s: %s: the dashboard's index is kept in memory", path, error)
            self._connection = _open(":memory:")
        except sqlite3.DatabaseError:  # damaged
            for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
                file.unlink(missing_ok=True)
            self._connection = _open(path)

    def close(self) -> None:
        """Write back the journal."""
        self._connection.close()

    def get(self, kind: str, key: str) -> Any:
        """Return the value, or None."""
        rows = self._execute("SELECT data FROM entries WHERE kind = ? AND key = ?", kind, key)
        return json.loads(rows[0][0], object_hook=_decode) if rows else None

    def set(self, kind: str, key: str, value: Any) -> None:
        """Keep a value. Nothing is written where it is kept already: labml-app sets some at each view of a page."""
        data = json.dumps(value, default=_encode, sort_keys=True)
        if self._execute("SELECT data FROM entries WHERE kind = ? AND key = ?", kind, key) != [(data,)]:
            self._execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", kind, key, data)

    def delete(self, kind: str, key: str) -> None:
        """Forget a value."""
        self._execute("DELETE FROM entries WHERE kind = ? AND key = ?", kind, key)

    def keys(self, kind: str) -> list[str]:
        """Return all keys of a kind."""
        return [key for (key,) in self._execute("SELECT key FROM entries WHERE kind = ?", kind)]

    def _execute(self, statement: str, *values: str) -> list[tuple]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()


def _open(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_SCHEMA)
        connection.execute("INSERT OR REPLACE INTO entries VALUES ('', 'opened', 'true')")  # can it be written?
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError(f"{path} is damaged")
    except sqlite3.Error:
        connection.close()
        raise
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
