"""SIGKILL at random moments, again and again: what is left is gone on with, and must end as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.faults.lab import EXPERIMENT, Lab, Process, at_file_operation
from benchmarks.faults.table import Outcome

# Files that are there for moments only, while something is being written.
RARE = {
    "checkpoint": "logs/*/*/checkpoints/.*",
    "cache": "data/cache/*.tmp",
    "log": "logs/*/*/.log.jsonl.*",
    "configs": "logs/*/*/.configs.yaml.*",
    "curves": "logs/*/*/.curves.png.*",
    "summary": "logs/*/*/.summary.json.*",
}
STARTING = 10  # one process in so many is a fresh one, killed while it starts: importing, most of the time


def kills(lab: Lab, n: int, seed: int) -> Outcome:
    """Kill processes `n` times, each run up to four times, and finish each run."""
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    problems: list[str] = []
    runs = 0
    while counts.total() < n:
        folder = lab.folder()
        for _ in range(min(draw.randint(1, 4), n - counts.total())):
            kind = kill(lab, folder, draw)
            if kind is None:
                break
            counts[kind] += 1
        runs += 1
        difference = lab.finish(folder)
        problems += [f"{folder.name}: {difference}"] if difference else []
        if sys.stdout.isatty():
            print(f"\r{counts.total()} kills, {runs} runs, {len(problems)} not as undisturbed", end="", flush=True)
    ended = f"{runs} runs of {counts.total()} kills ({', '.join(f'{v} {k}' for k, v in counts.most_common())})"
    return Outcome(counts.total(), problems, f"{ended}: resumed to the same bits", -signal.SIGKILL)


def kill(lab: Lab, folder: Path, draw: random.Random) -> str | None:
    """Start what a user would start next, and kill it. At what kind of moment, None if it ended before."""
    if draw.randrange(STARTING) == 0:
        return _kill_starting(lab, folder, draw.uniform(0, 4))
    rare = set(RARE) - ({"cache"} if any((folder / "data").rglob("*.safetensors")) else set())
    rare -= set() if lab.run(folder) else {"log"}  # which is written anew where a run goes on
    kind = draw.choice(["time", "time", "operation", "operation", *sorted(rare)])
    if kind == "operation":
        number = draw.randint(1, lab.n_operations)
        return kind if _die_at_operation(lab, folder, number) else None
    seconds = draw.uniform(0, lab.seconds)
    process = Process(folder, lab.way_on(folder))
    if kind == "time":
        until = time.monotonic() + seconds
        was_there = process.wait_until(lambda: time.monotonic() > until)
    else:
        skipped = draw.randrange(4) if kind == "checkpoint" else 0
        was_there = process.wait_until(_appeared(folder, RARE[kind], skipped), pause=0)
    process.signal(signal.SIGKILL)
    return kind if process.wait() == -signal.SIGKILL and was_there else None


def _appeared(folder: Path, pattern: str, skipped: int):
    """Whether a file of that pattern is there, for which nothing was there just before so many times."""
    seen, was_there = 0, False

    def look() -> bool:
        nonlocal seen, was_there
        is_there = any(folder.glob(pattern))
        seen += is_there and not was_there
        was_there = is_there
        return seen > skipped

    return look


def _die_at_operation(lab: Lab, folder: Path, number: int) -> bool:
    def die(count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return Process(folder, lab.way_on(folder), lambda: at_file_operation(die)).wait() == -signal.SIGKILL


def _kill_starting(lab: Lab, folder: Path, seconds: float) -> str | None:
    command = [sys.executable, str(EXPERIMENT), *lab.way_on(folder), "--quiet"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        return None
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "starting"
