"""What a node of a Ray cluster does for a sweep: check that it can train, and train runs.

Ray sends this file along, so that a node which lacks the project can say so: it may import Python's own modules only.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

Files = dict[str, bytes]  # by path relative to the run's logs folder
PATIENCE = 60.0  # seconds that a run has for its checkpoint after SIGTERM


def digest(script: str, package: str) -> str:
    """Of the user's script and the package: the code that decides what a run comes to."""
    total = hashlib.sha256()
    for file in [Path(script), *sorted(Path(package).rglob("*.py"))]:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def missing(script: str, package: str, expected: str, data: str | None) -> str | None:
    """What this node lacks, in words."""
    here = socket.gethostname()
    for path in filter(None, (script, package, data)):
        if not os.path.exists(path):
            return f"node {here} has no {path}: put it there, or on a disk that all nodes share"
    if digest(script, package) != expected:
        return f"node {here} has other code at {script} or {package}: update it"
    return None


class NodeRun:
    """A run in a process of this node, in a folder of its own. What it writes is handed over at each `poll`.

    Args:
        command: what follows Python's name.
        leash: convmixer/sweeps/leash.py, so that the run ends with this actor.
        files: what the run's folder holds already.
        data: labml's data folder.
    """

    def __init__(self, leash: str, command: list[str], environment: dict[str, str], files: Files, data: str) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="convmixer-sweep-"))
        (self._home / ".labml.yaml").write_text(f"experiments_path: logs\ndata_path: {data}\n")
        for name, content in files.items():
            file = self._home / "logs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self._output = self._home / "output"
        self._sent: dict[str, tuple[int, int]] = {}
        self._kill_at = float("inf")
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-ISE", leash, str(os.getpid()), sys.executable, *command],
                cwd=self._home,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> tuple[int | None, Files, bytes]:
        """Exit status once it has ended, the files that changed since the last call, all that it printed.

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
        printed = self._output.read_bytes()
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
