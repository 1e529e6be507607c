"""Stages of a run on a lent GPU: each has its time, fails by itself, and writes what it found at once."""

import csv
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple


class Table:
    """A CSV file of rows of one dataclass. A row is on the disk before anything else is done."""

    def __init__(self, path: Path, row_type: type) -> None:
        self.path = path
        self.columns = [field.name for field in fields(row_type)]

    def add(self, row: Any) -> None:
        is_new = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow({name: _text(value) for name, value in asdict(row).items()})
            file.flush()
            os.fsync(file.fileno())
        print(f"{self.path.stem}:", *(f"{name}={_text(value)}" for name, value in asdict(row).items()), flush=True)


def _text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


class Stage(NamedTuple):
    """A function without arguments, and the seconds it may take."""

    name: str
    seconds: float
    run: Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: `done`, `out of time`, or why it failed."""

    stage: str
    seconds: float
    outcome: str


def run_stages(stages: Sequence[Stage], folder: Path, deadline: float) -> list[Outcome]:
    """Run one after another, none beyond `deadline` (of time.monotonic), each in a process of its own.

    A process is forked, so that nothing is imported again; this one must not have touched the GPU. An error of the GPU
    ends with the process that met it.
    """
    table, outcomes = Table(folder / "stages.csv", Outcome), []
    for stage in stages:
        started = time.monotonic()
        left = min(stage.seconds, deadline - started)
        outcome = _run(stage, left) if left > 0 else "out of time"
        outcomes.append(Outcome(stage.name, time.monotonic() - started, outcome))
        table.add(outcomes[-1])
    return outcomes


def _run(stage: Stage, seconds: float) -> str:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(stage, theirs))
    process.start()
    theirs.close()
    process.join(seconds)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return "out of time"
    try:
        return ours.recv() if ours.poll() else f"failed: ended with status {process.exitcode}"
    except EOFError:
        return f"failed: ended with status {process.exitcode}"


def _work(stage: Stage, told: Connection) -> None:
    os.setpgrp()  # processes that it starts end with it
    try:
        stage.run()
        told.send("done")
    except BaseException as error:
        traceback.print_exc()
        told.send(f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
