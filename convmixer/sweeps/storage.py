"""Keeps a study in `logs/sweeps/NAME/`, with its trials in `study.db` there or in a database elsewhere.

logs/sweeps/NAME/study.json     which database, without its password
                 study.db       Optuna's trials, where there is no other database
                 trials/        what the runs of each trial printed
                 report.html    and pictures, trials.csv: see report.py
"""

import json
import logging
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage

from convmixer.console import shortened
from convmixer.errors import UserError
from convmixer.files.atomic import write_atomically
from convmixer.files.untrusted import read_json
from convmixer.project import FOLDER_NAME, is_folder_name, logs_folder
from convmixer.sweeps.database import file_address, open_database, problem_of, read_address, secrets_of, without_secrets
from convmixer.sweeps.search import Objective

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

MOST_NAMED = 5  # changes that an error names
STUDY = "study.json"

log = logging.getLogger("convmixer")


def sweeps_folder() -> Path:
    """The folder of all studies."""
    return logs_folder() / "sweeps"


def check_name(name: str) -> str:
    """A name that can be a folder's.

    Raises:
        UserError: it can't.
    """
    if not is_folder_name(name):
        raise UserError(f"--name {shortened(name)!r}: expected {FOLDER_NAME}")
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
        UserError: it was begun with others, or its database can't be used.
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
            f"sweep {name} was begun with other values: {_differences(begun_with, settings)}; "
            "give this sweep another --name, or leave --name out"
        )
    return study


def _differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Say what has changed: `d_model was 8 or 16, is 8; epochs was not given, is 3`."""
    flat_then, flat_now = _flat(then), _flat(now)
    names = [n for n in flat_then | flat_now if flat_then.get(n) != flat_now.get(n)]
    said = [f"{n} was {_in_words(flat_then.get(n))}, is {_in_words(flat_now.get(n))}" for n in names[:MOST_NAMED]]
    more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return "; ".join([*said, *more])


def _in_words(setting: Any) -> str:
    """Write a key's value, or what is searched (as `Space.describe` has it): `8 or 16`, `from 0.0 to 1.0`."""
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
        UserError: there is none, or its database can't be used.
    """
    names = all_names()
    if not names:
        raise UserError(f"there are no sweeps in {sweeps_folder()}")
    name = names[-1] if name == "last" else name
    if name not in names:
        raise UserError(f"there is no sweep {name!r}, only {', '.join(names[-10:])}")
    database = _open(name, url or _remembered(sweeps_folder() / name))
    try:
        study = optuna.load_study(study_name=name, storage=database)
        study.user_attrs["settings"]
        study.get_trials(deepcopy=False)
    except KeyError:
        raise UserError(f"sweep {name}: it was stopped before its first trial; the same command begins it") from None
    except (optuna.exceptions.StorageInternalError, ValueError, TypeError) as error:
        raise UserError(f"sweep {name}: its database can't be read: {problem_of(error)}") from None
    return study


def all_names() -> list[str]:
    """Every study, oldest first."""
    files = sweeps_folder().glob(f"*/{STUDY}")
    return [f.parent.name for f in sorted(files, key=lambda f: f.stat().st_mtime)]


def _remember(folder: Path, url: str | None) -> None:
    """Note the database, without its password: that is for PGPASSWORD, ~/.pgpass or --storage to say again."""
    with suppress(UserError):
        _remembered(folder)
        return
    shown = without_secrets(read_address(url)).render_as_string() if url else None
    write_atomically(folder / STUDY, (json.dumps({"storage": shown}) + "\n").encode())


def _remembered(folder: Path) -> str | None:
    """The address of a study's database; None for the file in its folder."""
    found = read_json(folder / STUDY)
    if isinstance(found, dict) and isinstance(found.get("storage", 0), str | None):
        return found["storage"]
    raise UserError(f"{folder / STUDY}: is damaged, it names no database")


def reach(url: str) -> None:
    """Try a database, before a study is begun in it.

    Raises:
        UserError: it can't be used.
    """
    address = read_address(url)
    open_database(address).remove_session()
    if secrets_of(address):
        log.warning("--storage: all users of this machine can see a password there; PGPASSWORD and ~/.pgpass hide it")


def _open(name: str, url: str | None) -> RDBStorage:
    address = file_address(sweeps_folder() / name / "study.db") if url is None else read_address(url)
    return open_database(address)
