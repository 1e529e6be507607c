"""Trains the runs of a sweep in processes of this machine; `ray_executor.py` does on a cluster's.

A run is the same command that a person would type, with the study's name in CONVMIXER_STUDY.
"""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from convmixer.errors import UserError
from convmixer.tracking.child_run import start_run

PATIENCE = 60.0  # seconds that a run has for its checkpoint after SIGTERM


@dataclass(frozen=True)
class Task:
    """A run that is to be trained, or resumed.

    Args:
        arguments: what follows the script's name.
        output: a file that all it prints is appended to.
    """

    uuid: str
    study: str
    arguments: tuple[str, ...]
    output: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"CONVMIXER_STUDY": self.study}


class Process(Protocol):
    """A run that was started."""

    def poll(self) -> int | None:
        """Its exit status once it has ended, negative for a signal. Its run folder is as new as the last call."""

    def stop(self) -> None:
        """Ask it to save a checkpoint and end."""


class Executor(Protocol):
    """Trains runs."""

    def free(self) -> int:
        """Count the runs that may be started now."""

    def width(self) -> int:
        """Count the runs that it trains at once."""

    def start(self, task: Task) -> Process:
        """Start a run; only where one is `free()`."""

    def close(self) -> None:
        """After the last run."""


def cores() -> int:
    """Count the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(share: float) -> str:
    """Return the number of threads of a run: OMP_NUM_THREADS if the user has set it, else its share of the cores."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, int(share)))


def gpus() -> list[str]:
    """Name each GPU as CUDA_VISIBLE_DEVICES would."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [name for name in (visible or "").split(",") if name]
    return named[: torch.cuda.device_count()] or [str(i) for i in range(torch.cuda.device_count())]


class LocalExecutor:
    """Processes of this machine, each with its share of the cores, or a GPU of its own.

    Args:
        script: the user's script.
        jobs: runs at once; none: as many as there are GPUs, or one.
        devices: the GPUs; empty to train on the CPU.

    Raises:
        UserError: more jobs than there are GPUs or cores.
    """

    def __init__(self, script: Path, jobs: int | None, devices: list[str]) -> None:
        jobs = jobs or len(devices) or 1
        there, what = (len(devices), "GPUs; device=cpu trains on cores") if devices else (cores(), "cores")
        if jobs > there:
            raise UserError(f"--jobs {jobs}: there are {there} {what}")
        self.jobs = jobs
        self._script = script
        self._threads = threads(cores() / jobs)
        self._slots = devices[:jobs] or [""] * jobs

    def free(self) -> int:
        return len(self._slots)

    def width(self) -> int:
        return self.jobs

    def start(self, task: Task) -> "LocalProcess":
        slot = self._slots.pop(0)
        share = {"CUDA_VISIBLE_DEVICES": slot, "OMP_NUM_THREADS": self._threads, "MKL_NUM_THREADS": self._threads}
        command = [str(self._script), *task.arguments]
        with open(task.output, "ab") as output:
            process = start_run(command, task.uuid, task.environment | share, stdout=output, stderr=subprocess.STDOUT)
        return LocalProcess(process, lambda: self._slots.append(slot))

    def close(self) -> None:
        """Nothing is left to be done."""


class LocalProcess:
    """A run in a process of this machine."""

    def __init__(self, process: subprocess.Popen, give_back: Callable[[], None]) -> None:
        self._process = process
        self._give_back = give_back
        self._kill_at = float("inf")

    def poll(self) -> int | None:
        if time.monotonic() > self._kill_at:
            self._process.kill()
        status = self._process.poll()
        if status is not None:
            self._give_back()
            self._give_back = _nothing
        return status

    def stop(self) -> None:
        self._process.terminate()
        self._kill_at = time.monotonic() + PATIENCE


def _nothing() -> None:
    """The slot was given back already."""
