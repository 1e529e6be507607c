"""What else happens to a process: its terminal is closed, memory runs out, the GPU fails, an image is broken ..."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.robustness.faults.comparison import differences
from benchmarks.robustness.faults.lab import Lab, Process, at_update, kill_at_update
from benchmarks.robustness.faults.table import Outcome
from convmixer.tracking.run_folder import LOG
from convmixer.training.trainer import Trainer

CUDA_ERROR = getattr(torch, "AcceleratorError", RuntimeError)  # what torch raises for one
CUDA_TEXT = "CUDA error: an illegal memory access was encountered"


def _in_mid_run(lab: Lab, n: int, seed: int, act: Callable[[Trainer], Any], status: int, expected: str) -> Outcome:
    """`act` is done in the process before an update; it must end with a line and be resumed to the same bits."""
    draw = random.Random(seed)
    problems, message = [], ""
    for _ in range(n):
        folder = lab.folder()
        update = draw.randrange(1, 30)
        process = Process(folder, lab.train, lambda at=update: at_update(at, act))
        got = process.wait()
        message = process.errors[-1] if process.errors else ""
        if got != status or len(process.errors) != 1 or expected not in message:
            problems.append(f"update {update}: status {got}, {process.errors}")
        lost = lab.finish(folder)
        problems += [f"update {update}: {lost}"] if lost else []
    return Outcome(n, problems, "resumed to the same bits", status, message)


def terminated(lab: Lab, n: int, seed: int) -> Outcome:
    """SIGTERM."""
    return _in_mid_run(lab, n, seed, lambda _: os.kill(os.getpid(), signal.SIGTERM), 143, "resume")


def interrupted(lab: Lab, n: int, seed: int) -> Outcome:
    """Ctrl-C."""
    return _in_mid_run(lab, n, seed, lambda _: os.kill(os.getpid(), signal.SIGINT), 130, "resume")


def hung_up(lab: Lab, n: int, seed: int) -> Outcome:
    """The terminal closed."""
    problems = []
    for _ in range(n):
        folder = lab.folder()
        process = Process(folder, lab.train, terminal=True)

        def is_training(folder: Path = folder, process: Process = process) -> bool:
            process.drain()
            return any(folder.glob(f"logs/*/*/{LOG}"))

        process.wait_until(is_training)
        process.hang_up()
        status = process.wait()
        run = lab.run(folder)
        if status != 129 or not run or run.status != "interrupted" or not run.checkpoint("last").exists():
            problems.append(f"status {status}, {run.status if run else 'no run'}, in {folder}")
        lost = lab.finish(folder)
        problems += [lost] if lost else []
    return Outcome(n, problems, "saved, ended, resumed to the same bits", 129)


def hung_up_under_nohup(lab: Lab, n: int, seed: int) -> Outcome:
    """SIGHUP under `nohup`."""

    def first() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        at_update(10, lambda _: os.kill(os.getpid(), signal.SIGHUP))

    folder = lab.folder()
    status = Process(folder, lab.train, first).wait()
    lost = lab.finish(folder)
    problems = [f"status {status}"] if status else []
    return Outcome(1, problems + [lost] * bool(lost), "went on", status)


def out_of_memory(lab: Lab, n: int, seed: int) -> Outcome:
    """Out of memory: torch's allocator asked for more than there is, in an update."""
    return _in_mid_run(lab, n, seed, lambda _: torch.empty(2**58), 1, "out of memory")


def cuda_error(lab: Lab, n: int, seed: int) -> Outcome:
    """A CUDA error, injected: no GPU was there, torch's error is raised in an update."""

    def fail(_: Trainer) -> None:
        raise CUDA_ERROR(CUDA_TEXT)

    return _in_mid_run(lab, n, seed, fail, 1, CUDA_TEXT)


def two_processes(lab: Lab, n: int, seed: int) -> Outcome:
    """A second process that resumes a run which is training."""
    folder = lab.killed_half_way()
    at = 30

    def pause(_: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    first = Process(folder, ["resume", "last"], lambda: at_update(at, pause))
    first.wait_until(first.is_stopped)
    second = Process(folder, ["resume", "last"])
    status = second.wait()
    first.signal(signal.SIGCONT)
    ended = first.wait()
    problems = [] if status == 2 and len(second.errors) == 1 else [f"the second: {status}, {second.errors}"]
    problems += [f"the first: {ended}"] if ended else []
    lost = lab.finish(folder)
    return Outcome(
        1, problems + [lost] * bool(lost), "the second refused, the first as undisturbed", status, second.errors[-1]
    )


def no_home(lab: Lab, n: int, seed: int) -> Outcome:
    """A home folder that is not there and can't be made."""
    folder = lab.folder()

    def first() -> None:
        os.environ["HOME"] = "/proc/none"
        os.environ.pop("XDG_CACHE_HOME", None)

    process = Process(folder, lab.train, first)
    status = process.wait()
    problems = [] if status == 0 and not process.errors else [f"status {status}, {process.errors}"]
    return Outcome(1, problems, "trained, with torch's kernels", status)


def broken_image(lab: Lab, n: int, seed: int) -> Outcome:
    """A broken image in the middle of the set."""
    draw = random.Random(seed)
    problems, message = [], ""
    for _ in range(n):
        folder = lab.folder()
        tree = lab.copy(lab.images)
        image = draw.choice(sorted(tree.rglob("*.png")))
        os.truncate(image, draw.randrange(image.stat().st_size - 1))
        process = Process(folder, [*lab.train[:-1], f"data.path={tree}"])
        status = process.wait()
        message = process.errors[-1]
        if status != 2 or str(image) not in process.errors[-1] or any((folder / "logs").glob("*/*")):
            problems.append(f"{image.name}: status {status}, {process.errors}")
    return Outcome(n, problems, "refused; no run folder", 2, message)


def weights_not_finite(lab: Lab, n: int, seed: int) -> Outcome:
    """A weight that becomes NaN, with `on_nan=rewind`.

    Killed anywhere, before or after that, and resumed, it ends as one that was not killed.
    """
    draw = random.Random(seed)

    def diverges() -> None:
        at_update(
            20, lambda trainer: trainer.rewinds or torch.nn.init.constant_(next(trainer.model.parameters()), torch.nan)
        )

    left_alone = lab.folder()
    process = Process(left_alone, lab.train, diverges)
    status = process.wait()
    said = [line for line in process.output.splitlines() if "going back to update" in line]
    problems = [] if status == 0 and len(said) == 1 else [f"left alone: {status}, {said}"]
    for _ in range(n):
        folder = lab.folder()
        update = draw.randrange(lab.undisturbed.summary["steps"])

        def first(update: int = update) -> None:
            diverges()
            kill_at_update(update)

        Process(folder, lab.train, first).wait()
        status = Process(folder, lab.way_on(folder), diverges).wait()
        lost = [*differences(lab.run(folder), lab.run(left_alone))]
        problems += [f"killed at update {update}: status {status}, {lost}"] if status or lost else []
    return Outcome(n, problems, "went back once; killed before or after it and resumed: the same bits", 0, *said[:1])


MISHAPS = {
    "sigterm": terminated,
    "ctrl-c": interrupted,
    "hang-up": hung_up,
    "nohup": hung_up_under_nohup,
    "out-of-memory": out_of_memory,
    "not-finite": weights_not_finite,
    "cuda-error": cuda_error,
    "two-processes": two_processes,
    "no-home": no_home,
    "broken-image": broken_image,
}
