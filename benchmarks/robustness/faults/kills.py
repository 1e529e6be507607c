"""SIGKILL at random moments, again and again: what is left is resumed, and must end as if nothing had happened."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.robustness.faults.lab import EXPERIMENT, Lab, Process, at_file_operation, kill_at_update
from benchmarks.robustness.faults.table import Outcome
from convmixer.tracking.run_folder import LOG
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints

STARTING = 12  # one process in so many is a fresh one, which is importing most of the time
LARGEST_FILE = 120_000  # bytes, about, of those that a run writes


def kills(lab: Lab, n: int, seed: int) -> Outcome:
    """SIGKILL at any moment: importing, caching data, training, writing a checkpoint, drawing, writing the summary.

    Up to four times for each run, which is then resumed to its end.
    """
    return _campaign(lab, n, random.Random(seed), lambda folder, draw: None)


def power_cuts(lab: Lab, n: int, seed: int) -> Outcome:
    """The same, and after each kill the end of log.jsonl is damaged as a power cut may.

    What was written to it since it was last synced, which is before a checkpoint is saved, is cut off, or turned to
    zeros or to noise, from a random byte on.
    """
    return _campaign(lab, n, random.Random(seed), lambda folder, draw: damage_log(lab.run(folder), draw))


def _campaign(
    lab: Lab, n: int, draw: random.Random, after_kill: Callable[[Path, random.Random], str | None]
) -> Outcome:
    counts: Counter[str] = Counter()
    damages: Counter[str | None] = Counter()
    problems: list[str] = []
    runs = 0
    while counts.total() < n:
        folder = lab.folder()
        for _ in range(min(draw.randint(1, 4), n - counts.total())):
            moment = kill(lab, folder, draw)
            if moment is None:
                break
            counts[moment] += 1
            damages[after_kill(folder, draw)] += 1
        runs += 1
        difference = lab.finish(folder)
        problems += [f"{folder.name}: {difference}"] if difference else []
    ended = f"{runs} runs, resumed to the same bits; killed {_listed(counts)}"
    del damages[None]
    if damages:
        ended += f"; the log's end then {_listed(damages)}"
    return Outcome(counts.total(), problems, ended, -signal.SIGKILL)


def _listed(counts: Counter) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())


def damage_log(run: Run | None, draw: random.Random) -> str | None:
    """Damage what was written to a run's log after it was last synced. In which way; None if there was nothing."""
    log = run and run.folder / LOG
    if not log or not log.exists():
        return None
    synced, size = _synced_bytes(run), log.stat().st_size
    if synced == size:
        return None
    place = draw.randrange(synced, size)
    content = log.read_bytes()[:place]
    damage = draw.choice(["cut off", "zeros", "noise"])
    left = {"cut off": b"", "zeros": bytes(size - place), "noise": draw.randbytes(size - place)}
    log.write_bytes(content + left[damage])
    return damage


def _synced_bytes(run: Run) -> int:
    """Return how much of a run's log is on the disk whatever happens: up to its newest checkpoint, or its end."""
    if run.summary:
        return (run.folder / LOG).stat().st_size
    checkpoint = run.checkpoint("last")
    return checkpoints.load(checkpoint)["log_bytes"] if checkpoint.exists() else 0


def kill(lab: Lab, folder: Path, draw: random.Random) -> str | None:
    """Start what a user would start next, and kill it. At what kind of moment; None if it ended before."""
    if draw.randrange(STARTING) == 0:
        return _kill_starting(lab, folder, draw)
    moment = draw.choice([_kill_at_a_time, _kill_between_updates, _kill_at_an_operation, _kill_within_a_write])
    return moment(lab, folder, draw)


def _kill_starting(lab: Lab, folder: Path, draw: random.Random) -> str | None:
    command = [sys.executable, str(EXPERIMENT), *lab.way_on(folder), "--quiet"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(draw.uniform(0, 4))
        return None
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "while a new process starts"


def _kill_at_a_time(lab: Lab, folder: Path, draw: random.Random) -> str | None:
    process = Process(folder, lab.way_on(folder))
    until = time.monotonic() + draw.uniform(0, lab.seconds)
    process.wait_until(lambda: time.monotonic() > until)
    process.signal(signal.SIGKILL)
    return "at any time" if process.wait() == -signal.SIGKILL else None


def _kill_between_updates(lab: Lab, folder: Path, draw: random.Random) -> str | None:
    update = draw.randrange(lab.undisturbed.summary["steps"])
    process = Process(folder, lab.way_on(folder), lambda: kill_at_update(update))
    return "between updates" if process.wait() == -signal.SIGKILL else None


def _kill_at_an_operation(lab: Lab, folder: Path, draw: random.Random) -> str | None:
    """Before a file is opened, renamed, linked or removed: each kind of file and each of these as often as others."""
    chosen = draw.choice(sorted(lab.operations))
    left = draw.randint(1, lab.operations[chosen])

    def count(operation: str) -> None:
        nonlocal left
        left -= operation == chosen
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    process = Process(folder, lab.way_on(folder), lambda: at_file_operation(count))
    return "before a file operation" if process.wait() == -signal.SIGKILL else None


def _kill_within_a_write(lab: Lab, folder: Path, draw: random.Random) -> str | None:
    """From some moment on, the first write beyond some byte of a file is cut off there, and ends the process.

    By the system, which sends SIGXFSZ: no handler is there for it, so it is as abrupt as SIGKILL.
    """
    chosen = draw.choice(sorted(lab.operations))
    left = draw.randint(1, lab.operations[chosen])
    size = draw.randrange(LARGEST_FILE)

    def limit(operation: str) -> None:
        nonlocal left
        left -= operation == chosen
        if left == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    def first() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        at_file_operation(limit)

    process = Process(folder, lab.way_on(folder), first)
    return "within a write" if process.wait() == -signal.SIGXFSZ else None
