"""Disks that are full or read-only, at any write: file systems of a few kilobytes, mounted for the purpose."""

import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.robustness.faults.lab import Lab, Process, at_update, plain_name
from benchmarks.robustness.faults.table import Outcome

PLENTY = 64 * 2**20  # bytes


def mount(*arguments: str) -> None:
    """Raise PermissionError where this user may not mount."""
    ended = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise PermissionError(f"mount: {ended.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of that size in a folder."""
    mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full(lab: Lab, n: int, seed: int) -> Outcome:
    """The disk full, with room for nearly nothing to nearly all that a run writes; later there is more."""
    draw = random.Random(seed)
    needed = sum(path.stat().st_size for path in lab.undisturbed.folder.parents[2].rglob("*"))
    problems: list[str] = []
    said: Counter[str] = Counter()
    status, message = 0, ""
    for number in range(n):
        folder = lab.folder()
        size = int(needed * (number + draw.random()) / n)
        with small_disk(folder, max(size, 4096)):
            process = Process(folder, lab.train)
            status = process.wait()
            line = process.errors[-1] if process.errors else ""
            if status == 1 and "the disk is full" in line:
                message = line
                said[_what(line)] += 1
            elif status != 0:
                problems.append(f"{size} bytes: status {status}, {process.errors}")
            mount("-o", f"remount,size={PLENTY}", str(folder))
            lost = lab.finish(folder)
            problems += [f"{size} bytes: {lost}"] if lost else []
    ended = f"resumed to the same bits; full while writing {', '.join(f'{k} ({v})' for k, v in said.most_common())}"
    return Outcome(n, problems, ended, 1, message)


def _what(line: str) -> str:
    """The file that did not fit, by what it is."""
    return plain_name(line.split("the disk is full (")[1].split(")")[0]) or "a file that was not named"


def read_only(lab: Lab, n: int, seed: int) -> Outcome:
    """The run's folder turned read-only in mid-run; later it can be written again."""
    draw = random.Random(seed)
    problems, message = [], ""
    for _ in range(n):
        folder = lab.folder()
        update = draw.randrange(1, 30)
        process = Process(folder, lab.train, lambda at=update, here=folder: at_update(at, lambda _: freeze(here)))
        status = process.wait()
        if status != 1 or len(process.errors) != 1:
            problems.append(f"update {update}: status {status}, {process.errors}")
        message = process.errors[-1]
        refused = Process(folder, lab.way_on(folder))
        if refused.wait() != 2 or len(refused.errors) != 1:
            problems.append(f"still read-only: {refused.errors}")
        subprocess.run(["umount", "-l", str(lab.run(folder).folder)], check=True)
        lost = lab.finish(folder)
        problems += [f"update {update}: {lost}"] if lost else []
    return Outcome(n, problems, "refused while read-only (status 2), then resumed to the same bits", 1, message)


def freeze(folder: Path) -> None:
    """Mount the run's folder over itself, read-only."""
    (run,) = folder.glob("logs/*/*")
    mount("--bind", str(run), str(run))
    mount("-o", "remount,bind,ro", str(run))


DISKS = {"full-disk": full, "read-only": read_only}
