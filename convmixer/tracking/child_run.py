"""Starts a run in a process of its own, and passes signals on to it. Whatever trains several runs starts them here.

Ray sends this file along to its nodes, so it may import Python's own modules only.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

LEASH = Path(__file__).with_name("leash.py")


def start_run(
    command: Sequence[str], uuid: str, environment: Mapping[str, str] | None = None, outlives: bool = False, **how: Any
) -> subprocess.Popen:
    """Start `python COMMAND...`, which trains the run of that uuid.

    It is in a session of its own: Ctrl-C in a terminal reaches it through its starter alone, and so once.

    Args:
        command: the script and its arguments.
        environment: what is added to this process's.
        outlives: it goes on when this process ends; otherwise it gets SIGTERM then, and saves a checkpoint (Linux).
        how: folder and output, as `subprocess.Popen` takes them.
    """
    parent = "0" if outlives else str(os.getpid())
    leash = [sys.executable, "-ISE", str(LEASH), parent] if os.name != "nt" else []  # Windows can't become a command
    return subprocess.Popen(
        [*leash, sys.executable, *command],
        env={**os.environ, **(environment or {}), "RUN_UUID": uuid},  # labml takes the uuid from there
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **how,
    )


class SignalRelay:
    """While entered, SIGINT, SIGTERM and SIGHUP are noted in `signal`, and passed on to the run that is waited for.

    One that comes while a run is being started reaches it once it is there. SIGINT is passed on as SIGTERM, which a
    run answers alike, and which ends a Python that is still starting without a traceback. SIGHUP stays ignored where
    it was.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._process: subprocess.Popen | None = None
        self._to_send: list[int] = []
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalRelay":
        numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
        noted = [n for n in numbers if n and not (n == numbers[2] and signal.getsignal(n) == signal.SIG_IGN)]
        self._previous = {number: signal.signal(number, self._note) for number in noted}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def wait_for(self, process: subprocess.Popen) -> int:
        """Wait until the run has ended. Returns its exit status, as shells give it: 128 more than a signal's number."""
        self._process = process
        self._pass_on()
        status = process.wait()
        self._process = None
        return 128 - status if status < 0 else status

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        self._to_send.append(signal.SIGTERM if number == signal.SIGINT else number)
        self._pass_on()

    def _pass_on(self) -> None:
        while self._process and self._to_send:
            self._process.send_signal(self._to_send.pop(0))
