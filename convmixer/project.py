"""Finds a project's folder, its settings, its folder of runs and the script that was started."""

import sys
from pathlib import Path
from typing import Any

from convmixer.files.atomic import LONGEST_NAME
from convmixer.files.untrusted import read_yaml

OWN_SCRIPTS = {"experiment.py", "__main__.py", "convmixer"}  # all start the same command line
FOLDER_NAME = f"a name that can be a folder's: at most {LONGEST_NAME} bytes, no dot first, none of / \\ : * ? \" < > |"


def project_folder() -> Path:
    """Return the nearest folder with a `.labml.yaml`, from the current one upwards; else the current one."""
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / ".labml.yaml").is_file()), here)


def settings() -> dict[str, Any]:
    """Return the content of the project's `.labml.yaml`."""
    file = project_folder() / ".labml.yaml"
    content = read_yaml(file) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def logs_folder() -> Path:
    """Return the folder of all runs: the one that `.labml.yaml` names, else `logs/` in the project's folder."""
    return project_folder() / settings().get("experiments_path", "logs")


def script() -> Path:
    """The script that the user started, and that is started again for further processes."""
    return Path(sys.argv[0]).resolve()


def command(launcher: str = "python") -> str:
    """Return the command that starts this program: `python experiment.py`, `python -m convmixer` or `convmixer`.

    Args:
        launcher: `python`, or torchrun with its options.
    """
    name = script().name
    if name == "__main__.py":
        return f"{launcher} -m convmixer"
    is_installed = name == "convmixer" and launcher == "python"
    return name if is_installed else f"{launcher} {name}"


def is_our_own_start(name: str) -> bool:
    """Return True if a script of this name only starts our own command line, with no parts of a user's own."""
    return name in OWN_SCRIPTS or not name


def is_same_program(trained_by: Path) -> bool:
    """Return True if a run's script is the one that was started, or if both only start our own command line."""
    return trained_by.name == script().name or {trained_by.name, script().name} <= OWN_SCRIPTS


def is_folder_name(name: str) -> bool:
    """Return True if `name` can be the name of a folder on any system, and is not hidden."""
    is_plain = name == name.strip() and name.isprintable() and set(name).isdisjoint('/\\:*?"<>|')
    return is_plain and not name.startswith(".") and 0 < len(name.encode()) <= LONGEST_NAME
