"""Starts the processes that send a run to trackers: beside a training, or for `runs send`."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from convmixer.console import printable
from convmixer.errors import UserError
from convmixer.project import command
from convmixer.tracking.run_folder import TRACKERS
from convmixer.tracking.runs import Run
from convmixer.tracking.send import NotSent
from convmixer.tracking.trackers import check_installed

LAST_WAIT = 10.0  # seconds at the end of training for what is not sent yet


@contextmanager
def followed(run: Run, names: Sequence[str]) -> Iterator[None]:
    """Send a run to these trackers while it is trained within, and how it ended.

    Whatever they do, training goes on: what is wrong is a warning of one line.
    """
    followers = [follower for name in names if (follower := _started(run, name))]
    status = "crashed"
    try:
        yield
        status = "completed"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        for follower in followers:
            follower.end(status)
        deadline = time.monotonic() + LAST_WAIT
        for follower in followers:
            follower.wait_until(deadline)


def send(run: Run, name: str) -> None:
    """Send to a tracker what it does not have of a run, and print that.

    Raises:
        UserError: the tracker is not installed, or another process is sending the run there.
        NotSent: the tracker did not take all of it.
    """
    check_installed([name])
    try:
        (run.folder / TRACKERS).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{run.folder}: can't be written: {error.strerror}") from None
    process = _start(run, name, stdin=subprocess.DEVNULL)
    assert process.stdout
    said = " ".join(map(str.strip, process.stdout))
    status = process.wait()
    if status == 0:
        print(printable(said))
    elif status == UserError.exit_status:
        raise UserError(said)
    else:
        raise NotSent(f"not sent to {name} ({said or f'it ended with status {status}'}); {_log(run, name)} has more")


def _start(run: Run, name: str, *arguments: str, **how: object) -> subprocess.Popen[str]:
    """Start the process, for which the package must be found wherever it is."""
    package = Path(__file__).parents[3]
    paths = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(  # -P: the current folder may hold a folder `wandb`
        [sys.executable, "-P", "-m", __package__, str(run.folder.resolve()), name, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        **how,
    )


def _started(run: Run, name: str) -> "Follower | None":
    try:
        return Follower(run, name)
    except OSError as error:
        _warn(run, name, f"can't be started: {error.strerror}")
        return None


class Follower:
    """A process that sends a run to a tracker while it is trained, and a thread that passes on what it says."""

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._name = name
        # In a session of its own: Ctrl-C ends the training, which tells it so.
        self._process = _start(run, name, str(os.getpid()), stdin=subprocess.PIPE, start_new_session=True)
        self._thread = threading.Thread(target=self._pass_on, name=f"tracking.also={name}", daemon=True)
        self._thread.start()

    def end(self, status: str) -> None:
        """Tell it how the training ended."""
        assert self._process.stdin
        with suppress(OSError):  # it may have ended
            self._process.stdin.write(status)
            self._process.stdin.flush()
        with suppress(OSError):
            self._process.stdin.close()

    def wait_until(self, deadline: float) -> None:
        """Wait until it has sent the rest, but no longer than until then."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            _warn(self._run, self._name, "the rest is still being sent")

    def _pass_on(self) -> None:
        assert self._process.stdout
        said = [_warn(self._run, self._name, line.strip()) for line in self._process.stdout]
        status = self._process.wait()
        if status and not said:
            _warn(self._run, self._name, f"ended with status {status} ({_log(self._run, self._name)})")


def _warn(run: Run, name: str, text: str) -> None:
    how = f"send what is missing later with: {command()} runs send {run.uuid[:8]} --to {name}"
    logging.getLogger(__name__).warning(f"tracking.also={name}: {printable(text)}; {how}")


def _log(run: Run, name: str) -> Path:
    return run.folder / TRACKERS / f"{name}.log"
