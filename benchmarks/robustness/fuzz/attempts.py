"""One input, spoilt and read, and what must not happen then."""

import logging
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.robustness.fuzz.folders import config, run_folder
from benchmarks.robustness.fuzz.images import archive, data_set_cache, image
from benchmarks.robustness.fuzz.weights import checkpoint, theirs, weights
from convmixer.data.image_files import ready_for_threads
from convmixer.errors import UserError

SECONDS = 20  # of a core, for one input; twenty times as many by the clock, on a machine that others use too

TARGETS: dict[str, Callable[[Path, random.Random], None]] = {
    "checkpoint": checkpoint,
    "weights": weights,
    "their weights": theirs,
    "config": config,
    "run folder": run_folder,
    "image": image,
    "archive": archive,
    "data set cache": data_set_cache,
}


class TooLong(BaseException):
    """An input took more than `SECONDS`."""


@contextmanager
def _hurried() -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TooLong

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, 20 * SECONDS)}
    before = {kind: signal.signal(kind, too_long) for kind in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for kind, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(kind, before[kind])


def attempt(target: str, chance: random.Random, room: Path) -> str:
    """Spoil and read one input. Returns `read` or `refused`; anything else is an AssertionError.

    Args:
        room: an empty folder, and where the process is: the canary would be there.
    """
    inner = room / "inner"
    inner.mkdir()
    try:
        with _hurried(), ready_for_threads():
            TARGETS[target](inner, chance)
        outcome = "read"
    except UserError:  # whose text the command line makes one line, printable and not too long
        outcome = "refused"
    except TooLong:
        raise AssertionError(f"more than {SECONDS} s") from None
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(inner)
    assert os.listdir(room) == [], f"files were made: {os.listdir(room)}"
    return outcome


@contextmanager
def fuzzing_room() -> Iterator[Path]:
    """An empty folder to be in, where parts of the package log nothing."""
    before, log = Path.cwd(), logging.getLogger("convmixer")
    level = log.level
    log.setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            log.setLevel(level)
