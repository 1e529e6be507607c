"""Where things of a project are: its folder, its runs, the script that was started."""

import sys
from pathlib import Path
from typing import Any

from convmixer.files.untrusted import read_yaml


def project_folder() -> Path:
    """The nearest folder with a `.labml.yaml`, from the current one up; else the current one."""
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / ".labml.yaml").is_file()), here)


def settings() -> dict[str, Any]:
    """The content of the project's `.labml.yaml`."""
    file = project_folder() / ".labml.yaml"
    content = read_yaml(file) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def logs_folder() -> Path:
    """The folder of all runs: as `.labml.yaml` says, else `logs/` in the project's folder."""
    return project_folder() / settings().get("experiments_path", "logs")


def script() -> Path:
    """The script that the user started, and that is started again for further processes."""
    return Path(sys.argv[0]).resolve()


def is_folder_name(name: str) -> bool:
    """True if `name` can be the name of a folder on any system, and is not hidden."""
    return (
        bool(name)
        and name == name.strip()
        and not name.startswith(".")
        and name.isprintable()
        and set(name).isdisjoint('/\\:*?"<>|')
    )
