"""Follows the run folders of `logs/`: what each run is, how it stands, and what hardware it uses."""

import asyncio
import itertools
import json
import logging
import math
import os
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from convmixer.dashboard import hardware
from convmixer.dashboard.edits import EDITS, Edits
from convmixer.dashboard.points import NONSENSE, PointsFile, hardware_points, metric_points
from convmixer.dashboard.storage import Store
from convmixer.errors import UserError
from convmixer.tracking.run_folder import CHECKPOINTS, CONSOLE, LOG, SUMMARY, check_folder
from convmixer.tracking.runs import Run

PAUSE = 1.0  # seconds between looks at all folders
SHARE = 0.05  # of a core that looking may take
TAIL = 2**14  # bytes of a log in which its latest values are looked for
SILENCE = 60.0  # seconds, at least, without a point until a run that no process here holds counts as dead

_UUID = re.compile(r"[0-9A-Za-z-]+")
_INFO, _CONFIGS, _RUN_LOG = "run.yaml", "configs.yaml", "run_log.jsonl"
_FILES = (_INFO, _CONFIGS, _RUN_LOG, LOG, SUMMARY, EDITS)

log = logging.getLogger("convmixer")

Signature = list[int]  # of a file: inode, size, time of change; of a missing one: empty


class FollowedRun:
    """A run as its folder was when last looked at."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.uuid = folder.name
        self.info: dict[str, Any] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.status = "in progress"
        self.latest: dict[str, float] = {}  # values of metrics
        self.latest_step = 0
        self._times: list[float] = []  # of the latest points
        self.summary: dict[str, Any] = {}
        self.edits = Edits(folder)
        self.metrics = PointsFile(folder / LOG, metric_points)
        self.hardware = PointsFile(folder / hardware.HARDWARE, hardware_points)
        self.has_hardware = False
        self.size = self.size_checkpoints = 0  # bytes
        self._run = Run(folder)
        self._store = store
        self._files: dict[str, Signature] = {name: [] for name in _FILES}
        self._was_held_here = False
        self._configs_are_stale = True

    @property
    def is_known(self) -> bool:
        """Whether `run.yaml` could be read: labml writes it piece by piece."""
        return bool(self.info)

    @property
    def is_running_here(self) -> bool:
        return self._was_held_here and self.status == "in progress"

    @property
    def start_time(self) -> float:
        """When it began, in seconds since 1970."""
        try:
            return datetime.fromisoformat(f"{self.info['trial_date']} {self.info['trial_time']}").timestamp()
        except (KeyError, ValueError, OverflowError, OSError):
            return self._changed(_INFO)

    @property
    def last_recorded(self) -> float:
        """When its last point was recorded, in seconds since 1970.

        Of a run whose process is here never so long ago that the page takes it for dead (15 minutes).
        """
        recorded = self._times[-1] if self._times else self.start_time
        return max(recorded, time.time() - 600) if self.is_running_here else recorded

    def look(self) -> None:
        """Take in what has changed in the folder."""
        now = {name: _signature(self.folder / name) for name in _FILES}
        changed = {name for name in _FILES if now[name] != self._files[name]}
        self._files = now
        if changed & {_INFO, _CONFIGS}:
            self._configs_are_stale = True
            self._read_info()
        if EDITS in changed:
            self.edits.read()
        if SUMMARY in changed:
            self._read_summary()
        if LOG in changed:
            self._read_latest()
        if changed:
            self.size_checkpoints = _size(self.folder / CHECKPOINTS)
            self.size = self.size_checkpoints + _size(self.folder)
        if not self.has_hardware:
            self.has_hardware = (self.folder / hardware.HARDWARE).exists()
        if changed or not self.summary:
            self.status = self._read_status()

    def read_configs(self) -> bool:
        """Read `configs.yaml` if it has changed, which takes some 10 ms; whether it had to be."""
        if not self._configs_are_stale:
            return False
        self._configs_are_stale = False
        try:
            configs = _plain(Run(self.folder).labml_configs)
            self.configs = {key: _as_shown(item) for key, item in configs.items() if isinstance(item, dict)}
        except (UserError, *NONSENSE):
            self.configs = {}
            return True
        value = {"files": self._index_state(), "info": self.info, "configs": self.configs}
        self._store.set("folder", str(self.folder), value)
        return True

    def _index_state(self) -> list[Signature]:
        return [self._files[_INFO], self._files[_CONFIGS]]

    def _read_info(self) -> None:
        known = self._store.get("folder", str(self.folder))
        if known and known["files"] == self._index_state():
            self.info, self.configs, self._configs_are_stale = known["info"], known["configs"], False
            return
        try:
            self.info = _plain(Run(self.folder).info)
        except UserError:
            self._files[_INFO] = []  # look again

    def _read_summary(self) -> None:
        try:
            self.summary = self._run.summary
        except (OSError, ValueError, UserError):
            self.summary = {}

    def _read_latest(self) -> None:
        try:
            with open(self.folder / LOG, "rb") as file:
                file.seek(max(0, self._files[LOG][1] - TAIL))
                lines = file.read().split(b"\n")[:-1]
        except (OSError, IndexError):
            lines = []
        self.latest, self.latest_step, self._times = {}, 0, []
        for line in lines:
            for name, step, value in _points(line):
                self.latest[name] = value
                self.latest_step = max(self.latest_step, int(step))
            self._times += _times(line)

    def _read_status(self) -> str:
        """`in progress` while a process here holds the run; else what `run_log.jsonl` says, where that is its end."""
        if self._run.is_running():
            self._was_held_here = True
            return "in progress"
        if self.summary:  # the last thing that is written
            return "completed"
        ending = _last_line(self.folder / _RUN_LOG)
        has_ended = ending and ending["time"] >= (self._times[-1] if self._times else 0)
        if has_ended:  # and was not gone on with after that
            return ending["status"]
        return "no response" if self._was_held_here or self._is_silent() else "in progress"

    def _is_silent(self) -> bool:
        """Whether points have stopped coming, for a run on another machine whose folder is copied here as it grows."""
        gap = max((b - a for a, b in itertools.pairwise(self._times)), default=0)
        recorded = self._times[-1] if self._times else self.start_time
        return time.time() - recorded > max(SILENCE, 3 * gap)

    def _changed(self, name: str) -> float:
        signature = self._files[name]
        return signature[2] / 1e9 if signature else 0.0

    def console(self) -> str:
        """What the run printed."""
        try:
            return (self.folder / CONSOLE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


class Follower:
    """All runs of a logs folder, by uuid."""

    def __init__(self, logs: Path, store: Store) -> None:
        self.runs: dict[str, FollowedRun] = {}
        self._logs = logs
        self._store = store
        self._found: dict[Path, FollowedRun] = {}
        self._refused: set[str] = set()  # runs that were said to be unsound

    def look(self) -> None:
        """Take in what has changed in all folders."""
        folders = {f for f in self._folders() if _UUID.fullmatch(f.name)}
        for folder in self._found.keys() - folders:
            del self._found[folder]
            self._store.delete("folder", str(folder))
        for folder in folders:
            if folder not in self._found:
                self._found[folder] = FollowedRun(folder, self._store)
            self._look_at(self._found[folder])
        self.runs = {run.uuid: run for run in self._found.values() if run.is_known}

    def _look_at(self, run: FollowedRun) -> None:
        """A run whose folder holds nonsense, or leads out of it, must not keep the others from being shown."""
        try:
            check_folder(run.folder)
            run.look()
        except FileNotFoundError:
            pass  # it was removed meanwhile
        except Exception as problem:
            run.info = {}  # which hides it
            if run.uuid not in self._refused:
                self._refused.add(run.uuid)
                log.warning("run %s is not shown: %s", run.uuid, problem)

    def _folders(self) -> Iterator[Path]:
        return (file.parent for file in self._logs.glob(f"*/*/{_INFO}"))

    async def follow(self) -> None:
        """Keep up with the folders for ever; a disk that is full or away for a while is said and waited for."""
        psutil.cpu_percent(percpu=True)  # of the time since the call before
        works = (self._look_again, self._read_configs, self._watch_hardware)
        await asyncio.gather(*(_for_ever(work) for work in works))

    async def _look_again(self) -> float:
        started = time.perf_counter()
        self.look()
        return max(PAUSE, (time.perf_counter() - started) / SHARE)

    async def _read_configs(self) -> float:
        """Of new and changed runs, newest first; one at a time, as it takes longest, and others wait meanwhile."""
        for run in sorted(self.runs.values(), key=lambda r: -r.start_time):
            if run.read_configs():
                await asyncio.sleep(0.001)
        return PAUSE

    async def _watch_hardware(self) -> float:
        running = [run for run in self.runs.values() if run.is_running_here]
        if not running:
            return PAUSE
        values = await hardware.sample(self._logs)
        for run in running:
            hardware.append(run.folder, values)
        return hardware.INTERVAL


async def _for_ever(work: Callable[[], Awaitable[float]]) -> None:
    """Work, wait for as long as it says, work."""
    while True:
        try:
            pause = await work()
        except (OSError, sqlite3.Error) as error:
            log.warning("dashboard: %s", error)
            pause = 10 * PAUSE
        await asyncio.sleep(pause)


def _signature(path: Path) -> Signature:
    try:
        state = os.stat(path)
    except OSError:
        return []
    return [state.st_ino, state.st_size, state.st_mtime_ns]


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    except OSError:
        return 0


def _points(line: bytes) -> list[tuple[str, float, float]]:
    try:
        return list(metric_points(json.loads(line)))
    except NONSENSE:
        return []  # cut where reading began


def _times(line: bytes) -> list[float]:
    try:
        return [float(json.loads(line)["time"])]
    except NONSENSE:
        return []


def _last_line(path: Path) -> dict[str, Any]:
    try:
        line = json.loads(path.read_text().splitlines()[-1])
        return {"status": str(line["status"]), "time": float(line["time"])}
    except (OSError, IndexError, *NONSENSE):
        return {}


def _as_shown(item: dict[str, Any]) -> dict[str, Any]:
    """A part is shown by the name of its option, not by what Python prints of it."""
    computed = item.get("computed")
    is_option = isinstance(computed, str) and item.get("value") in (item.get("options") or [])
    return item | {"computed": "none" if computed is None else "" if is_option else computed}


def _plain(value: Any) -> Any:
    """What JSON can hold: dates and numbers that are not finite as text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)
