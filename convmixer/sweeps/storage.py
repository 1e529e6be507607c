"""Where a study is kept: `logs/sweeps/NAME/`, with its trials in `study.db` there or in a database elsewhere.

logs/sweeps/NAME/study.json     which database, without its password
                 study.db       Optuna's trials, where there is no other database
                 trials/        what the runs of each trial printed
                 report.html    and pictures, trials.csv: see report.py
"""

import json
import os
import uuid
import warnings
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from convmixer.errors import UserError
from convmixer.project import logs_folder
from convmixer.sweeps.search import Objective

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def sweeps_folder() -> Path:
    return logs_folder() / "sweeps"


def check_name(name: str) -> str:
    """A name that can be a folder's.

    Raises:
        UserError: it can't.
    """
    if not name or len(name) > 100 or name.startswith(".") or not name.isprintable() or set(name) & set('/\\:*?"<>|'):
        raise UserError(f"--name {name[:100]!r}: expected a name that can be a folder's")
    return name


def lock(folder: Path) -> FileLock:
    """Held by the one process that drives a study.

    Raises:
        UserError: another process does.
    """
    held = FileLock(folder / ".lock")
    try:
        held.acquire(timeout=2)
    except Timeout:
        raise UserError(f"sweep {folder.name}: another process is at it") from None
    return held


def create(
    name: str, url: str | None, objective: Objective, settings: dict[str, Any], script: str = ""
) -> optuna.Study:
    """The study of this name, begun now or earlier.

    Args:
        settings: plain values. What a study was begun with stays.
        script: as it was typed, for the command that trains the best trial again.

    Raises:
        UserError: it was begun with others, or its database can't be had.
    """
    folder = sweeps_folder() / name
    database = _open(name, url)
    _remember(folder, url)
    study = optuna.create_study(study_name=name, storage=database, direction=objective.direction, load_if_exists=True)
    if "id" not in study.user_attrs:  # the uuids of its runs follow from it
        study.set_user_attr("id", uuid.uuid4().hex)
        study.set_user_attr("script", script)
    begun_with = study.user_attrs.get("settings")
    settings = json.loads(json.dumps(settings))
    if begun_with is None:
        study.set_user_attr("settings", settings)
    elif begun_with != settings:
        raise UserError(
            f"sweep {name} was begun with {_difference(begun_with, settings)}; give this one another --name"
        )
    return study


def _difference(then: dict[str, Any], now: dict[str, Any]) -> str:
    flat_then, flat_now = _flat(then), _flat(now)
    names = [n for n in flat_then | flat_now if flat_then.get(n) != flat_now.get(n)]
    return f"{names[0]} {_in_words(flat_then.get(names[0]))}, not {_in_words(flat_now.get(names[0]))}"


def _in_words(setting: Any) -> str:
    """What a key was given, or what is searched (as `Space.describe` has it): `8 or 16`, `from 0.0 to 1.0`."""
    if not isinstance(setting, dict):
        return "not given" if setting is None else str(setting)
    found, condition = setting["attributes"], setting["if"]
    words = " or ".join(map(str, found.get("choices", ()))) or f"from {found['low']} to {found['high']}"
    if found.get("step") not in (None, 1):
        words += f" in steps of {found['step']}"
    words += " (logarithmic)" if found.get("log") else ""
    return words + (f" if {condition[0]}={','.join(map(str, condition[1]))}" if condition else "")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in settings.items() if name not in ("fixed", "searched")}
    return rest | settings["fixed"] | settings["searched"]


def load(name: str, url: str | None = None) -> optuna.Study:
    """A study by its name, or the one begun last by `last`.

    Raises:
        UserError: there is none, or its database can't be had.
    """
    names = all_names()
    if not names:
        raise UserError(f"there are no sweeps in {sweeps_folder()}")
    name = names[-1] if name == "last" else name
    if name not in names:
        raise UserError(f"there is no sweep {name!r}, only {', '.join(names[-10:])}")
    remembered = json.loads((sweeps_folder() / name / "study.json").read_text())
    database = _open(name, url or remembered["storage"])
    try:
        study = optuna.load_study(study_name=name, storage=database)
        study.user_attrs["settings"]
    except KeyError:
        raise UserError(f"sweep {name}: it was stopped before its first trial; the same command begins it") from None
    except optuna.exceptions.StorageInternalError as error:
        raise UserError(f"sweep {name}: its database can't be read: {error.__cause__}") from None
    return study


def all_names() -> list[str]:
    """Every study, oldest first."""
    files = sweeps_folder().glob("*/study.json")
    return [f.parent.name for f in sorted(files, key=lambda f: f.stat().st_mtime)]


def _remember(folder: Path, url: str | None) -> None:
    """Without its password: that is for PGPASSWORD, ~/.pgpass or --storage to say again."""
    file = folder / "study.json"
    if file.exists():
        return
    shown = _url(url)._replace(password=None).render_as_string() if url else None
    aside = folder / ".study.json"
    aside.write_text(json.dumps({"storage": shown}) + "\n")
    os.replace(aside, file)


def reach(url: str) -> None:
    """Try a database, before a study is begun in it.

    Raises:
        UserError: it can't be had.
    """
    _open("", url).remove_session()


def _url(url: str) -> Any:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UserError(f"--storage {url}: expected a URL, as postgresql://user@host/database") from None
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def _commit_without_waiting(connection: Any, record: Any) -> None:
    """Whole after a kill or a power cut; the last moments before a power cut may be missing, but the runs have them."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _open(name: str, url: str | None) -> RDBStorage:
    if url is None:
        url = f"sqlite:///{sweeps_folder() / name / 'study.db'}"
    address = _url(url)
    try:
        database = RDBStorage(address.render_as_string(hide_password=False))
        if address.get_backend_name() == "sqlite":
            event.listen(database.engine, "connect", _commit_without_waiting)
            database.engine.dispose()
        return database
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise UserError(f"--storage {address.render_as_string()}: can't be used: {reason}") from None
