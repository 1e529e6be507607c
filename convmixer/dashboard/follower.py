"""Follows the run folders of `logs/` for as long as the dashboard runs."""

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event

import psutil

from convmixer.dashboard import hardware
from convmixer.dashboard.followed_run import FollowedRun
from convmixer.dashboard.storage import Store
from convmixer.tracking.run_folder import INFO

PAUSE = 1.0  # seconds between looks at all folders
SHARE = 0.05  # of a core that looking may take
LONG_LOG = 2**20  # bytes of a log that is read before anyone asks for it
MOST_AHEAD = 50  # runs, the newest, whose logs are; memory bounds it
PATIENCE = 1.0  # seconds that a page of a run that trains waits for its log; the page asks again by itself
LONGEST_PATIENCE = 60.0  # seconds, for a run that has ended

_UUID = re.compile(r"[0-9A-Za-z-]+")

log = logging.getLogger("convmixer")


class Follower:
    """All runs of a logs folder, by uuid. Files are read in threads: the server answers meanwhile."""

    def __init__(self, logs: Path, store: Store) -> None:
        self.runs: dict[str, FollowedRun] = {}
        self.stopped = Event()
        self._logs = logs
        self._store = store
        self._found: dict[Path, FollowedRun] = {}
        self._said: dict[str, str] = {}  # the last line on each subject
        self._refreshing: dict[str, asyncio.Task] = {}

    def look(self) -> None:
        """Take in what has changed in all folders."""
        folders = {f.parent for f in self._logs.glob(f"*/*/{INFO}") if _UUID.fullmatch(f.parent.name)}
        for folder in self._found.keys() - folders:
            del self._found[folder]
            self._forget(folder)
        for folder in folders:
            if folder not in self._found:
                self._found[folder] = self._open(folder)
            self._found[folder].look()
        for run in self._found.values():
            self._say(f"run {run.uuid} is not shown", run.problem)
        self.runs = {run.uuid: run for run in self._found.values() if run.is_shown}

    def _open(self, folder: Path) -> FollowedRun:
        run = FollowedRun(folder, self.stopped)
        try:
            run.take_index_entry(self._store.get("folder", str(folder)))
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            self._say("the index can't be read", str(error))
        return run

    def _forget(self, folder: Path) -> None:
        try:
            self._store.delete("folder", str(folder))
        except (sqlite3.Error, ValueError) as error:
            self._say("the index can't be written", str(error))

    async def refresh(self, uuid: str) -> None:
        """Take in all that a page of this run shows; of a long log of a run that trains, what is read within a second.

        The reading goes on meanwhile, and the page asks again.
        """
        run = self.runs[uuid]
        patience = PATIENCE if run.status == "in progress" else LONGEST_PATIENCE
        begun = self._refreshing.get(uuid)
        if begun and (await asyncio.wait([begun], timeout=patience))[1]:
            return
        # What was begun before this request may have missed what was written just before it.
        task = self._refreshing.get(uuid)
        if task is None or task is begun:
            task = self._refreshing[uuid] = asyncio.create_task(asyncio.to_thread(run.refresh))
            task.add_done_callback(lambda _: self._refreshing.pop(uuid, None))
        await asyncio.wait([task], timeout=patience)

    async def follow(self) -> None:
        """Keep up with the folders for ever; whatever fails is said, and tried again."""
        psutil.cpu_percent(percpu=True)  # of the time since the call before
        works = (self._look_again, self._read_configs, self._read_ahead, self._watch_hardware)
        await asyncio.gather(*(self._for_ever(work) for work in works))

    async def _for_ever(self, work: Callable[[], Awaitable[float]]) -> None:
        """Work, wait for as long as it says, work."""
        while True:
            try:
                pause = await work()
                self._say(work.__name__, "")
            except Exception as error:  # nothing that a disk or a folder does may end the following
                self._say(work.__name__, f"{type(error).__name__}: {error}")
                pause = 10 * PAUSE
            await asyncio.sleep(pause)

    def _say(self, subject: str, text: str) -> None:
        """Say it once, not at each look."""
        if text and self._said.get(subject) != text:
            log.warning("dashboard: %s: %s", subject.strip("_").replace("_", " "), text)
        self._said[subject] = text
        if not text:
            del self._said[subject]

    async def _look_again(self) -> float:
        started = time.perf_counter()
        await asyncio.to_thread(self.look)
        return max(PAUSE, (time.perf_counter() - started) / SHARE)

    async def _read_configs(self) -> float:
        """Read those of new and changed runs, newest first, and keep them in the index, which only saves time."""
        for run in [run for run in self._newest_first() if not run.is_indexed]:
            await asyncio.to_thread(run.read_configs)
            entry = run.index_entry
            if entry and not run.problem:
                self._store.set("folder", str(run.folder), entry)
                run.indexed = entry
        return PAUSE

    async def _read_ahead(self) -> float:
        """Read long logs, newest first: the first view of such a run need not wait."""
        long = [run for run in self._newest_first() if run.log_bytes > LONG_LOG]
        for run in long[:MOST_AHEAD]:
            await asyncio.to_thread(run.read_ahead)
        return PAUSE

    def _newest_first(self) -> list[FollowedRun]:
        return sorted(self.runs.values(), key=lambda run: -run.start_time)

    async def _watch_hardware(self) -> float:
        running = [run for run in self.runs.values() if run.is_running_here]
        if not running:
            return PAUSE
        values = await hardware.sample(self._logs)
        for run in running:
            try:
                hardware.append(run.folder, values)
            except OSError as error:  # another user's run, say; the others are recorded
                self._say(f"hardware of run {run.uuid} is not recorded", str(error))
        return hardware.INTERVAL
