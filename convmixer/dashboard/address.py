"""Where the dashboard of a folder of runs is to be found, for other processes on this machine."""

import json
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from convmixer.files.atomic import write_atomically

ADDRESS = ".dashboard.json"
LOCK = ".dashboard.lock"  # held while a dashboard serves these runs
PATIENCE = 0.2  # seconds


def write_address(logs: Path, url: str) -> None:
    """Let other processes know where the dashboard of these runs is."""
    address = {"url": url, "run_url": f"{url}/run/{{uuid}}", "pid": os.getpid(), "host": socket.gethostname()}
    write_atomically(logs / ADDRESS, (json.dumps(address) + "\n").encode())


def remove_address(logs: Path) -> None:
    """The dashboard of these runs ends."""
    (logs / ADDRESS).unlink(missing_ok=True)


def running_url(logs: Path, uuid: str) -> str | None:
    """The page of a run, where a dashboard of its logs folder answers on this machine; else None.

    What a killed dashboard left behind counts for nothing: the lock must be held and the port must answer.
    """
    try:
        address = json.loads((logs / ADDRESS).read_text())
        is_served = address["host"] == socket.gethostname() and _is_held(logs / LOCK) and _answers(address["url"])
        return address["run_url"].format(uuid=uuid) if is_served else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path).acquire(blocking=False):
            return False
    except Timeout:
        return True


def _answers(url: str) -> bool:
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE):
        return True
