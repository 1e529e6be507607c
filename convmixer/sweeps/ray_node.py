"""Does a node's part of a sweep on a Ray cluster: checks that the node can train, and trains runs.

Ray sends this file and `tracking/child_run.py` along, so that a node which lacks the project can say so: they may
import Python's own modules only.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from glob import glob
from pathlib import Path

from convmixer.tracking.child_run import start_run

Files = dict[str, bytes]  # by path relative to the run's logs folder
PATIENCE = 60.0  # seconds that a run has for its checkpoint after SIGTERM
LARGEST_PART = 2**22  # bytes of what a run printed, in one answer


def digest(script: str, package: str) -> str:
    """Hash the user's script and the package: the code that decides what a run comes to."""
    total = hashlib.sha256()
    for file in [Path(script), *sorted(Path(package).rglob("*.py"))]:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def missing(script: str, package: str, expected: str, data: str | None) -> str | None:
    """Say in words what this node lacks; None where it lacks nothing."""
    here = socket.gethostname()
    for path in filter(None, (script, package, data)):
        if not os.path.exists(path) and not glob(path):  # data may be a pattern of files
            return f"node {here} has no {path}: put it there, or on a disk that all nodes share"
    if digest(script, package) != expected:
        return f"node {here} has other code at {script} or {package}: update it"
    return None


class NodeRun:
    """A run in a process of this node, in a folder of its own. What it writes is handed over at each `poll`.

    Args:
        command: what follows Python's name.
        files: what the run's folder holds already.
        data: labml's data folder.
    """

    def __init__(self, command: list[str], uuid: str, environment: dict[str, str], files: Files, data: str) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="convmixer-sweep-"))
        (self._home / ".labml.yaml").write_text(f"experiments_path: logs\ndata_path: {data}\n")
        for name, content in files.items():
            file = self._home / "logs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self._output = self._home / "output"
        self._sent: dict[str, tuple[int, int]] = {}
        self._printed = 0  # bytes of the output that were handed over
        self._kill_at = float("inf")
        with open(self._output, "wb") as output:
            self._process = start_run(
                command, uuid, environment, cwd=self._home, stdout=output, stderr=subprocess.STDOUT
            )

    def poll(self) -> tuple[int | None, Files, bytes]:
        """Exit status once it has ended, the files that changed since the last call, the next part of what it printed.

        With the exit status all is handed over, and nothing is left here.
        """
        if time.monotonic() > self._kill_at:
            self._process.kill()
        status = self._process.poll()
        changed = {}
        for file in (self._home / "logs").glob("*/*/**/*"):
            mark = self._mark(file)
            name = str(file.relative_to(self._home / "logs"))
            if mark is not None and self._sent.get(name) != mark:
                changed[name], self._sent[name] = file.read_bytes(), mark
        with open(self._output, "rb") as output:
            output.seek(self._printed)
            printed = output.read(LARGEST_PART)
        self._printed += len(printed)
        if status is not None and len(printed) == LARGEST_PART:
            status = None  # there may be more
        if status is not None:
            shutil.rmtree(self._home)
        return status, changed, printed

    def _mark(self, file: Path) -> tuple[int, int] | None:
        if file.name.startswith(".") or not file.is_file():
            return None
        stat = file.stat()
        return stat.st_mtime_ns, stat.st_size

    def stop(self) -> None:
        """Ask it to save a checkpoint and end."""
        self._process.terminate()
        self._kill_at = time.monotonic() + PATIENCE
