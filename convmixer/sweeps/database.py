"""Opens the database of a study: its address without secrets, and calls that wait while it is locked or away."""

import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from convmixer.console import one_line
from convmixer.errors import UserError

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
SECRET = re.compile(r"pass(?!file)|pwd|secret|token|credential", re.IGNORECASE)  # in the name of a URL's parameter
SHORTEST_SECRET = 4  # characters
PATIENCE = 600.0  # seconds that a database may be locked or away
POLL = 1.0

log = logging.getLogger("convmixer")


def read_address(url: str) -> URL:
    """Read the address that `--storage` gives.

    Raises:
        UserError: it is none. The text is not repeated, as it may hold a password.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(
            "--storage: can't be read (and isn't repeated here, as it may hold a password): expected a URL, as "
            "postgresql://user@host/database"
        ) from None
    if "@" in (address.host or ""):
        raise UserError("--storage: there is more than one @; one in a password is written %40")
    return address.set(drivername=DRIVERS.get(address.drivername, address.drivername))


def file_address(path: Path) -> URL:
    """The address of an SQLite file, whatever characters are in its path."""
    return URL.create("sqlite", database=f"file:{quote(os.fsencode(path.absolute()))}", query={"uri": "true"})


def without_secrets(address: URL) -> URL:
    """The address without its password, also where that is one of the parameters."""
    query = {name: value for name, value in address.query.items() if not SECRET.search(name)}
    return address.set(query=query)._replace(password=None)


def secrets_of(address: URL) -> list[str]:
    """The password, and the parameters that are as secret."""
    found = [address.password, *(value for name, value in address.query.items() if SECRET.search(name))]
    return [str(secret) for secret in found if secret]


def open_database(address: URL) -> RDBStorage:
    """Connect to a database, and make Optuna's tables where there are none.

    Raises:
        UserError: it can't be used.
    """
    try:
        return _opened(address)
    except (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError) as error:
        place = f"--storage {without_secrets(address).render_as_string()}"
        if str(address.database).startswith("file:"):
            place = unquote(str(address.database).removeprefix("file:"))
        raise UserError(_without(address, f"{place}: can't be used: {problem_of(error)}")) from None


def problem_of(error: Exception) -> str:
    """Find the words of the database's own driver, on one line."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return one_line(getattr(cause, "orig", None) or cause)


def _without(address: URL, text: str) -> str:
    """A text in which no secret of the address stands; one that is shorter than a word can't be told from the rest."""
    for secret in secrets_of(address):
        text = text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text
    return text


def _may_pass(error: Exception) -> bool:
    """True where the same call may succeed later: another process holds a lock, or a server does not answer."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, OperationalError):
        return False
    if isinstance(cause.orig, sqlite3.Error):
        return cause.orig.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return True


def _patient(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, which waits and says so where the database is locked or away."""

    @wraps(call)
    def until_it_answers(*arguments: Any, **options: Any) -> Any:
        end, is_waiting = time.monotonic() + PATIENCE, False
        while True:
            try:
                result = call(*arguments, **options)
            except (StorageInternalError, OperationalError) as error:
                if not _may_pass(error) or time.monotonic() > end:
                    raise
                if not is_waiting:
                    log.warning("the study's database can't be used now: %s; waiting", problem_of(error))
                is_waiting = True
                time.sleep(POLL)
            else:
                if is_waiting:
                    log.warning("the study's database can be used again")
                return result

    return until_it_answers


class PatientStorage(RDBStorage):
    """Optuna's storage in a database, each call of which, a transaction, is made again until the database answers."""


for name in BaseStorage.__abstractmethods__:
    setattr(PatientStorage, name, _patient(getattr(RDBStorage, name)))


def _opened(address: URL) -> RDBStorage:
    is_file = address.get_backend_name() == "sqlite"
    text = address.render_as_string(hide_password=False)
    for brace in "{}":  # which Optuna takes for a template's
        text = text.replace(brace, 2 * brace)
    database = _patient(PatientStorage)(text) if is_file else PatientStorage(text)
    if is_file:
        event.listen(database.engine, "connect", _commit_without_waiting)
        database.engine.dispose()
    return database


def _commit_without_waiting(connection: Any, record: Any) -> None:
    """Whole after a kill or a power cut; the last moments before a power cut may be missing, but the runs have them."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
