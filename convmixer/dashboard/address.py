"""Tells other processes on this machine where the dashboard of a folder of runs is."""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from convmixer.files.atomic import write_atomically
from convmixer.files.locks import is_held

ADDRESS = ".dashboard.json"
LOCK = ".dashboard.lock"  # held while a dashboard serves these runs
PATIENCE = 0.2  # seconds


def write_address(logs: Path, url: str) -> None:
    """Let other processes know where the dashboard of these runs is."""
    address = {"url": url, "pid": os.getpid(), "host": socket.gethostname()}
    write_atomically(logs / ADDRESS, (json.dumps(address) + "\n").encode())


def remove_address(logs: Path) -> None:
    """Forget the address, as the dashboard of these runs ends."""
    with suppress(OSError):
        (logs / ADDRESS).unlink(missing_ok=True)


def running_url(logs: Path, uuid: str) -> str | None:
    """Return the page of a run, where a dashboard of its logs folder answers on this machine; else None."""
    url = dashboard_url(logs)
    return f"{url}/run/{uuid}" if url else None


def dashboard_url(logs: Path) -> str | None:
    """Return where a dashboard of these runs answers on this machine; else None.

    What a killed dashboard left behind counts for nothing: the lock must be held and the port must answer.
    """
    try:
        address = json.loads((logs / ADDRESS).read_text())
        is_served = address["host"] == socket.gethostname() and bool(is_held(logs / LOCK)) and _answers(address["url"])
        return str(address["url"]) if is_served else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _answers(url: str) -> bool:
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE):
        return True
