"""Writes the command that repeats a run."""

import shlex
from typing import Any

from convmixer.console import as_argument
from convmixer.project import OWN_SCRIPTS, command
from convmixer.tracking.recorded_run import Run
from convmixer.tracking.run_folder import CHANGES

LENGTHS = ("epochs", "steps", "minutes")  # a run has one of them


def command_of(run: Run, without: tuple[str, ...] = (), changes: dict[str, Any] | None = None) -> str:
    """Return the command that trains this run again, with its keys; on a CPU, to the same bits.

    Args:
        without: given keys that are left out.
        changes: keys that are added or replaced.
    """
    recorded = run.recorded
    given = {name: value for name, value in run.given.items() if name in recorded}
    if recorded.get("minutes") is not None and recorded.get("steps") is not None:
        given.pop("minutes", None)  # which were measured into as many updates as fitted
        given["steps"] = recorded["steps"]
    changes_file = run.folder / CHANGES
    if changes_file.exists():
        given["changes"] = str(changes_file)  # what `set` changed in mid-run is changed again
    for name in ("recipe", "seed"):
        if recorded.get(name) is not None:
            given.setdefault(name, recorded[name])
    given = {name: value for name, value in given.items() if name not in without} | (changes or {})
    words = [as_argument(name, value) for name, value in given.items()]
    return " ".join([_start(run), *map(shlex.quote, words)])


def _start(run: Run) -> str:
    """Return how the run's program is started: as this one, unless a script of the user's own trained it."""
    script = run.info["python_file"]
    name = script.replace("\\", "/").rpartition("/")[2]
    return command() if name in OWN_SCRIPTS or not name else f"python {shlex.quote(script)}"
