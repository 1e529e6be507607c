"""One run as the dashboard shows it: read from its folder, and read again when something there has changed."""

import itertools
import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Event, Lock
from typing import Any

from convmixer.dashboard import hardware
from convmixer.dashboard.edits import EDITS, Edits
from convmixer.dashboard.json_values import plain, plain_text
from convmixer.dashboard.points import NONSENSE, PointsFile, hardware_points, line_time, metric_points
from convmixer.errors import UserError
from convmixer.files.untrusted import read_tail
from convmixer.tracking.live_changes import Change, Request, read_changes, read_requests
from convmixer.tracking.recorded_run import Run, is_dynamic, typed
from convmixer.tracking.run_folder import (
    CHANGES,
    CHECKPOINTS,
    CONFIGS,
    CONSOLE,
    INFO,
    LOG,
    REQUESTS,
    RUN_LOG,
    SUMMARY,
    check_folder,
)

TAIL = 2**14  # bytes of a log in which its latest values are looked for
CONSOLE_TAIL = 2**20  # bytes of console output that are shown
NOT_COMPUTED = -1  # labml's order of a config that no other one is made of
SILENCE = 60.0  # seconds, at least, without a point until a run that no process here holds counts as dead

_FILES = (INFO, CONFIGS, RUN_LOG, LOG, SUMMARY, EDITS, CHANGES, REQUESTS)

Signature = list[int]  # of a file: inode, size, time of change, of change of its rights; of a missing one: empty


class FollowedRun:
    """A run as its folder was when last looked at.

    Threads read it and the pages' views show it: a view takes what is here, and never waits for a file.

    Args:
        stopped: set when the process ends.
    """

    def __init__(self, folder: Path, stopped: Event | None = None) -> None:
        self.folder = folder
        self.uuid = folder.name
        self.info: dict[str, Any] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.status = "in progress"
        self.problem = ""  # why it is not shown
        self.latest: dict[str, float] = {}  # values of metrics
        self.latest_step = 0
        self.summary: dict[str, Any] = {}
        self.changes: list[Change] = []  # of values while it trains
        self.waiting: list[Request] = []  # changes that were asked for and are not made yet
        self.edits = Edits(folder)
        self.metrics = PointsFile(folder / LOG, metric_points, stopped)
        self.hardware = PointsFile(folder / hardware.HARDWARE, hardware_points, stopped)
        self.console = ""  # the end of what it printed
        self.has_hardware = False
        # What takes long to read, and of which state of the files; None: it has to be read.
        self.index_entry: dict[str, Any] | None = None
        self.indexed: dict[str, Any] | None = None  # the one that is in the index
        self.size = self.size_checkpoints = 0  # bytes
        self._times: list[float] = []  # of the latest points
        self._run = Run(folder)
        self._looking, self._reading = Lock(), Lock()  # apart: a long log that is read keeps no look waiting
        self._files: dict[str, Signature] = {name: [] for name in _FILES}
        self._was_held_here = False

    @property
    def is_shown(self) -> bool:
        """Its folder is sound, and `run.yaml` could be read: labml writes it piece by piece."""
        return bool(self.info) and not self.problem

    @property
    def is_running_here(self) -> bool:
        return self._was_held_here and self.status == "in progress"

    @property
    def is_indexed(self) -> bool:
        """The index holds what `run.yaml` and `configs.yaml` hold, as far as one has looked."""
        return self.index_entry is not None and self.indexed is self.index_entry

    @property
    def log_bytes(self) -> int:
        """Bytes of its log when last looked at."""
        return self._files[LOG][1] if self._files[LOG] else 0

    @property
    def start_time(self) -> float:
        """The time when it began, in seconds since 1970."""
        try:
            return datetime.fromisoformat(f"{self.info['trial_date']} {self.info['trial_time']}").timestamp()
        except (KeyError, ValueError, OverflowError, OSError):
            return self._files[INFO][2] / 1e9 if self._files[INFO] else 0.0

    @property
    def last_recorded(self) -> float:
        """The time when its last point was recorded, in seconds since 1970.

        Of a run whose process is here never so long ago that the page takes it for dead (15 minutes).
        """
        recorded = self._times[-1] if self._times else self.start_time
        return max(recorded, time.time() - 600) if self.is_running_here else recorded

    def look(self) -> None:
        """Take in what has changed in the folder, as far as the list shows it."""
        self._take_in(self._looking, self._notice_changes)

    def refresh(self) -> None:
        """Take in all that a page of this run shows; its log is read on from where it was read before."""
        self._take_in(self._looking, self._notice_changes, self._read_configs, self._read_end)
        self._take_in(self._reading, self.metrics.read, self.hardware.read)

    def read_ahead(self) -> None:
        """Read the log before anyone asks for it."""
        self._take_in(self._reading, self.metrics.read)

    def read_configs(self) -> None:
        """Read `configs.yaml` if it has changed, which takes some 10 ms."""
        self._take_in(self._looking, self._read_configs)

    def _take_in(self, lock: Lock, *steps: Callable[[], Any]) -> None:
        """Whatever is wrong in the folder hides this run until it is right again, and never another one."""
        with lock:
            try:
                check_folder(self.folder)
                for step in steps:
                    step()
                self.problem = ""
            except FileNotFoundError:
                pass  # it was removed meanwhile
            except Exception as problem:  # a folder from anywhere may hold anything
                self.problem = str(problem) or type(problem).__name__

    def _notice_changes(self) -> None:
        now = {name: _signature(self.folder / name) for name in _FILES}
        changed = {name for name in _FILES if now[name] != self._files[name]}
        self._files = now
        if changed & {INFO, CONFIGS}:
            self.index_entry = None
        if INFO in changed:
            self._read_info()
        if EDITS in changed:
            self.edits.read()
        if SUMMARY in changed:
            self._read_summary()
        if changed & {CHANGES, REQUESTS}:
            self._read_changes()
        if LOG in changed:
            self._read_latest()
        if changed:
            self.size_checkpoints = _size(self.folder / CHECKPOINTS)
            self.size = self.size_checkpoints + _size(self.folder)
        if not self.has_hardware:
            self.has_hardware = (self.folder / hardware.HARDWARE).exists()
        if changed or not self.summary:
            self.status = self._read_status()

    def take_index_entry(self, entry: dict[str, Any] | None) -> None:
        """Take over what an earlier process read, where the files are still those."""
        now = [_signature(self.folder / name) for name in (INFO, CONFIGS)]
        if entry and entry.get("files") == now:
            self.info, self.configs = entry["info"], entry["configs"]
            self._files[INFO], self._files[CONFIGS] = now
            self.index_entry = self.indexed = entry

    def _read_configs(self) -> None:
        if self.index_entry:
            return
        try:
            configs = plain(Run(self.folder).labml_configs)
            self.configs = {key: _as_shown(item) for key, item in configs.items() if isinstance(item, dict)}
        except (UserError, *NONSENSE):
            self.configs = {}
        files = [self._files[INFO], self._files[CONFIGS]]
        self.index_entry = {"files": files, "info": self.info, "configs": self.configs}

    def _read_info(self) -> None:
        try:
            self.info = plain(Run(self.folder).info)
        except UserError:
            self._files[INFO] = []  # look again

    def _read_summary(self) -> None:
        try:
            self.summary = self._run.summary
        except (OSError, ValueError, UserError):
            self.summary = {}

    def _read_changes(self) -> None:
        try:
            self.changes, asked = read_changes(self.folder / CHANGES), read_requests(self.folder)
            self.waiting = asked[sum(change.request > 0 for change in self.changes) :]
        except (OSError, UserError):
            self.changes, self.waiting = [], []

    def _read_latest(self) -> None:
        self.latest, self.latest_step, self._times = {}, 0, []
        for line in _tail_lines(self.folder / LOG):
            try:
                points, at = metric_points(line), line_time(line)
                last = max((int(step) for _, step, _ in points), default=0)
            except NONSENSE:
                continue  # cut where reading began, or none of ours
            self.latest |= {name: value for name, _, value in points}
            self.latest_step = max(self.latest_step, last)
            self._times.append(at)

    def _read_end(self) -> None:
        """The end of the console's log: a run may print without end."""
        file = self.folder / CONSOLE
        try:
            text = read_tail(file, CONSOLE_TAIL).decode(errors="replace")
            left_out = file.stat().st_size - CONSOLE_TAIL
        except (OSError, UserError):
            text, left_out = "", 0
        self.console = f"({left_out:,} bytes before this are in {CONSOLE})\n{text}" if left_out > 0 else text

    def _read_status(self) -> str:
        """`in progress` while a process here holds the run; else what `run_log.jsonl` says, where that is its end."""
        if self._run.is_running():
            self._was_held_here = True
            return "in progress"
        if self.summary:  # the last thing that is written
            return "completed"
        status, ended = _ending(self.folder / RUN_LOG)
        if status and ended >= (self._times[-1] if self._times else 0):  # and was not resumed after that
            return status
        return "no response" if self._was_held_here or self._is_silent() else "in progress"

    def _is_silent(self) -> bool:
        """Say whether points have stopped coming, for a run on another machine whose folder is copied here."""
        gap = max((b - a for a, b in itertools.pairwise(self._times)), default=0)
        recorded = self._times[-1] if self._times else self.start_time
        return time.time() - recorded > max(SILENCE, 3 * gap)


def _signature(path: Path) -> Signature:
    try:
        state = os.stat(path)
    except OSError:
        return []
    return [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    except OSError:
        return 0


def _tail_lines(path: Path) -> list[Any]:
    """The JSON values of the last lines of a file, however long it is."""
    try:
        lines = read_tail(path, TAIL).split(b"\n")[:-1]
    except (OSError, UserError):
        return []
    return [value for value in map(_value, lines) if value is not None]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except NONSENSE:
        return None


def _ending(run_log: Path) -> tuple[str, float]:
    """Read how labml says that the run ended, and when; nothing where it says nothing."""
    try:
        line = json.loads(read_tail(run_log, TAIL).splitlines()[-1])
        return plain_text(str(line["status"]))[:40], line_time(line)
    except (OSError, UserError, IndexError, *NONSENSE):
        return "", 0.0


def _as_shown(item: dict[str, Any]) -> dict[str, Any]:
    """Show a part by the name of its option, not by what Python prints of it; what was not computed, as given."""
    value, computed = typed(item.get("value")), typed(item.get("computed"))
    if computed is None and item.get("order") == NOT_COMPUTED:
        computed = value
    is_option = isinstance(computed, str) and value in (item.get("options") or [])
    shown = {"value": value, "computed": "none" if computed is None else "" if is_option else computed}
    return item | shown | {"is_dynamic": is_dynamic(item.get("computed")) or is_dynamic(item.get("value"))}
