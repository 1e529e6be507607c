"""The process that sends a run to one tracker: `python -m convmixer.tracking.trackers FOLDER NAME [PID]`.

It is a process of its own, so that a tracker that hangs, fails or uses much time can't reach the training. With the id
of the process that trains the run, it follows the run's log until standard input is closed, which happens however that
process ends; otherwise it sends what is there. A word on standard input says how the training ended. Each line on
standard output is a message for the user. All that the tracker's library prints goes to `trackers/NAME.log`.
"""

import os
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from convmixer.console import one_line
from convmixer.errors import UserError
from convmixer.tracking.run_folder import TRACKERS
from convmixer.tracking.runs import Run
from convmixer.tracking.trackers.feed import Feed
from convmixer.tracking.trackers.tracker import TrackedRun

EVERY = 2.0  # seconds between two looks at the log
LONGEST_PAUSE = 60.0  # seconds between attempts while the tracker fails
PATIENCE = 60.0  # seconds that a tracker may take to answer, beside a training
LONG_PATIENCE = 600.0  # the same for `runs send`
MOST_PRINTED = 2**20  # bytes of what a library prints; after them its file begins anew


class Messages:
    """Writes messages to the process that started this one. What libraries print goes to a file from now on."""

    def __init__(self, log: Path) -> None:
        log.parent.mkdir(exist_ok=True)
        self._pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(file, stream)
        os.close(file)

    def say(self, text: object) -> None:
        """Write a message on one line; an exception with its type. Names and passwords in addresses are left out."""
        text = f"{type(text).__name__}: {text}" if isinstance(text, Exception) else text
        with suppress(OSError):  # the reader may have gone
            print(re.sub(r"//[^/@\s]*@", "//", one_line(text, 300)), file=self._pipe, flush=True)


class Training:
    """The training as this process sees it: over once standard input is closed."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.status = ""
        self._pipe = os.dup(0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a library that asks something gets no answer
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        with os.fdopen(self._pipe, encoding="utf-8") as pipe:
            self.status = pipe.read().strip()
        self.ended.set()


class Watchdog(threading.Thread):
    """Ends the process when a tracker has not answered for `patience` seconds, and keeps what is printed short."""

    def __init__(self, messages: Messages, patience: float) -> None:
        super().__init__(daemon=True)
        self._messages = messages
        self._patience = patience
        self._since: float | None = None
        self.start()

    def reset(self) -> None:
        """Take note that the tracker answers."""
        self._since = time.monotonic()

    __enter__ = reset

    def __exit__(self, *error: object) -> None:
        self._since = None

    def run(self) -> None:
        while True:
            time.sleep(1.0)
            if os.fstat(1).st_size > MOST_PRINTED:
                os.ftruncate(1, 0)
            since = self._since
            if since is not None and time.monotonic() - since > self._patience:
                self._messages.say(f"no answer within {self._patience:.0f} s")
                os._exit(1)  # the thread that waits can't be stopped otherwise


def follow(run: TrackedRun, name: str, training: Training, messages: Messages) -> int:
    """Send the run while it is trained, and its end. Return the exit status: 1 if something was not sent."""
    watchdog = Watchdog(messages, PATIENCE)
    feed = None
    failures = 0
    while True:
        is_last = training.ended.is_set()
        try:
            with watchdog:
                feed = feed or Feed(run, name, wait=PATIENCE / 2)  # the process of a killed training may be at its end
                feed.open()
                feed.send(watchdog.reset)
                if is_last:
                    feed.end(training.status or ("completed" if run.run.summary else "killed"))
            failures = 0
        except Exception as error:
            failures += 1
            if not run.run.folder.exists():
                return 0  # the run was removed
            if failures == 1:
                messages.say(error)
        if is_last:
            return int(failures > 0)
        training.ended.wait(min(EVERY * 2 ** min(failures, 10), LONGEST_PAUSE))


def send(run: TrackedRun, name: str, messages: Messages) -> int:
    """Send what is there and say so. Return the exit status: 1 if the tracker failed, 2 if it may not be used."""
    try:
        with (watchdog := Watchdog(messages, LONG_PATIENCE)), Feed(run, name) as feed:
            lines = feed.send(watchdog.reset)
            ended = feed.end(run.run.status) if not run.run.is_running() else False
            is_new = lines or ended
            messages.say(f"sent to {feed.place}" if is_new else f"nothing to send: {feed.place} has everything")
    except UserError as error:
        messages.say(str(error))
        return 2
    except Exception as error:
        messages.say(error)
        return 1
    return 0


def main() -> None:
    """Send the run that the arguments name, and end the process."""
    folder, name, *pid = sys.argv[1:]
    messages = Messages(Path(folder) / TRACKERS / f"{name}.log")
    if pid:
        with suppress(OSError, AttributeError):  # Windows has no such call
            os.nice(10)  # training comes first
        status = follow(TrackedRun(Run(Path(folder)), int(pid[0])), name, Training(), messages)
    else:
        status = send(TrackedRun(Run(Path(folder))), name, messages)
    os._exit(status)  # a library's threads and its hooks at the end might wait


if __name__ == "__main__":
    main()
