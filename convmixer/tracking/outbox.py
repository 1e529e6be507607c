"""Sends to a labml server the data of a run that it does not have yet, read from the run's folder.

The folder's `sent.json` records for each server what it has taken, so that a resumed run or `runs send` sends nothing
twice. Only one packet is in memory, however long the server does not answer.
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from convmixer.errors import UserError
from convmixer.files.atomic import write_atomically
from convmixer.files.untrusted import read_bytes
from convmixer.tracking.app_server import AppServer
from convmixer.tracking.run_folder import CONSOLE, LOG, RUN_LOG, SENDING, SENT
from convmixer.tracking.runs import Run

SAVES = 1000  # most lines of log.jsonl in a packet
CONSOLE_BYTES = 1 << 16  # most bytes of console.log in a packet
ABOUT = ("name", "comment", "tags", "notes", "python_file", "start_step")
CODE = ("repo_remotes", "commit", "commit_message", "is_dirty")
IN_PROGRESS = "in progress"


@dataclass(frozen=True)
class Position:
    """A position in a run's files: everything before it has been sent."""

    saves: int = 0  # lines of log.jsonl; a resumed run writes dropped lines again, with the same values
    console: int = 0  # bytes of console.log
    ends: int = 0  # lines of run_log.jsonl; each is an end of the run
    description: str = ""  # hash of run.yaml and configs.yaml


class Outbox:
    """The queue of a run's packets for one server. Only one process at a time may use it.

    Args:
        wait: wait while another process is sending this run.

    Raises:
        UserError: another process is sending this run, and `wait` is false.
    """

    def __init__(self, run: Run, server: AppServer, wait: bool = False) -> None:
        self.run = run
        self.server = server
        self._wait = wait
        self._lock = FileLock(run.folder / SENDING)
        # The URL itself may hold a token.
        self._key = f"{server.name} {hashlib.sha256(server.url.encode()).hexdigest()[:8]}"
        self._passed, self._offset = 0, 0  # number of lines of the log that were taken, and the byte after them
        self._log_inode = 0

    def __enter__(self) -> "Outbox":
        try:
            self._lock.acquire(timeout=-1 if self._wait else 0)
        except Timeout:
            raise UserError(f"run {self.run.uuid[:8]} is being sent by another process") from None
        described = [self.run.folder / name for name in ("run.yaml", "configs.yaml")]
        self._description = hashlib.sha256(b"".join(file.read_bytes() for file in described)).hexdigest()[:16]
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()

    def send(self, ended: bool) -> int:
        """Send all new data, and return the number of packets.

        Args:
            ended: the run has stopped training, so its last status is also sent.

        Raises:
            NotTaken: the server did not take a packet.
            UserError: the run's files can't be read.
        """
        packets = 0
        while self._send_one(ended):
            packets += 1
        return packets

    def _send_one(self, ended: bool) -> bool:
        position = self._settled()
        saves, console = self._saves(position.saves), self._console(position.console)
        status = self._status(position, ended and len(saves) < SAVES and len(console) < CONSOLE_BYTES)
        following = Position(
            position.saves + len(saves),
            position.console + len(console),
            position.ends if status["status"] == IN_PROGRESS else len(self._ends()),
            self._description,
        )
        if following == position:
            return False
        packet = {"time": time.time(), "status": status, "stdout": console.decode(errors="replace")}
        packet |= self._track(saves) if saves else {}
        if following.description != position.description:
            configs = {key: value for key, value in self.run.labml_configs.items() if key != "tracking.app_url"}
            packet |= {key: self.run.info[key] for key in ABOUT + CODE} | {"configs": configs}
        self._keep(position, following, status["time"])
        self.server.take(packet)
        self._keep(following)
        return True

    def unsent(self) -> str:
        """Return in words what the server has not taken; an empty text if it has everything."""
        position, recorded = self._kept()[0], _count_lines(self.run.folder / LOG)
        if recorded > position.saves:
            return f"{recorded - position.saves} of {recorded} saves of metrics"
        return "how the run ended" if len(self._ends()) > position.ends else ""

    def _settled(self) -> Position:
        """Return the position that the server has reached, after asking about a packet that was in doubt.

        Raises:
            NotTaken: the server does not answer.
        """
        position, doubtful, mark = self._kept()
        if doubtful and self.server.has(mark):
            self._keep(doubtful)
            return doubtful
        return position

    def _kept(self) -> tuple[Position, Position | None, float]:
        """Return the sent position, the one after a packet in doubt (or None), and that packet's mark."""
        kept = self._read_sent().get(self._key, {"taken": {}, "doubtful": None, "mark": 0.0})
        return Position(**kept["taken"]), Position(**kept["doubtful"]) if kept["doubtful"] else None, kept["mark"]

    def _keep(self, taken: Position, doubtful: Position | None = None, mark: float = 0.0) -> None:
        entry = {"taken": asdict(taken), "doubtful": asdict(doubtful) if doubtful else None, "mark": mark}
        content = json.dumps(self._read_sent() | {self._key: entry}, indent=2) + "\n"
        write_atomically(self.run.folder / SENT, content.encode())

    def _read_sent(self) -> dict[str, Any]:
        file = self.run.folder / SENT
        try:
            return json.loads(file.read_text()) if file.exists() else {}
        except ValueError:
            raise UserError(f"{file} is damaged: delete it to send the whole run again") from None

    def _saves(self, taken: int) -> list[bytes]:
        """Return the next lines of the log after the first `taken` ones."""
        if not (self.run.folder / LOG).exists():
            return []
        found: list[bytes] = []
        with open(self.run.folder / LOG, "rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._log_inode:  # the first time, or the run went back and the file was replaced
                self._passed, self._offset, self._log_inode = 0, 0, inode
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n") or len(found) == SAVES:
                    break
                if self._passed < taken:
                    self._passed += 1
                    self._offset += len(line)
                else:
                    found.append(line)
        return found

    def _track(self, saves: list[bytes]) -> dict[str, Any]:
        """Return the metrics of these lines in the server's format: `{"track": {name: {"step": [..], "value": [..]}}}`.

        labml's own writer uses the same format, but averages points that are close together late in a run.
        """
        track: dict[str, dict[str, list[float]]] = {}
        try:
            for line in map(json.loads, saves):
                for name, points in line["track"].items():
                    series = track.setdefault(name, {"step": [], "value": []})
                    for step, values in points:
                        series["value"].append(float(np.mean(values)))
                        series["step"].append(float(step))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{self.run.folder / LOG}: a line is damaged") from None
        return {"track": track}

    def _console(self, taken: int) -> bytes:
        """Return the next whole lines of the console's log, at most `CONSOLE_BYTES`."""
        file = self.run.folder / CONSOLE
        if not file.exists():
            return b""
        with open(file, "rb") as opened:
            opened.seek(taken)
            text = opened.read(CONSOLE_BYTES)
        return text if len(text) == CONSOLE_BYTES else text[: text.rfind(b"\n") + 1]

    def _ends(self) -> list[bytes]:
        file = self.run.folder / RUN_LOG
        return read_bytes(file).splitlines() if file.exists() else []

    def _status(self, position: Position, is_last: bool) -> dict[str, Any]:
        """Return the run's status: with the last packet how it ended, before that "in progress" with the time.

        The time tells packets apart.
        """
        ends = self._ends()
        if is_last and len(ends) > position.ends:
            return json.loads(ends[-1])
        return {"status": IN_PROGRESS, "rank": 0, "details": None, "time": time.time()}


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
