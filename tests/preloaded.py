"""Runs scripts as processes that have their imports behind them: forks of one that has imported torch and the package.

Importing takes three seconds of a process, and the tests run hundreds. What follows the fork is what
`python SCRIPT ARGUMENTS` does after its imports. As a script, this is that process: it forks for each request.
"""

import array
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO, TextIO

LONGEST_REQUEST = 2**20  # bytes


class ForkedProcess:
    """A fork that runs a script, to be used like a `subprocess.Popen` with text pipes."""

    def __init__(self, words: list[str], status: BinaryIO, stdout: TextIO, stderr: TextIO) -> None:
        self.args, self._status, self.stdout, self.stderr = words, status, stdout, stderr
        self.pid = int(status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, as `subprocess` gives it, or None if the process has not ended."""
        return self._read_status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended, and return its exit status.

        Raises:
            TimeoutExpired: it did not end within so many seconds.
        """
        if self._read_status(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _read_status(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(self._status.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both streams to their ends, and wait for the process, within so many seconds."""
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(_rest, stream) for stream in (self.stdout, self.stderr)]
            _, unread = wait(texts, timeout)
            if unread:
                self.kill()  # what is read until then is lost with it
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(timeout)
        return texts[0].result(), texts[1].result()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _rest(stream: TextIO) -> str:
    return "" if stream.closed else stream.read()


class Preloaded:
    """A process that has imported the package, and runs scripts in forks of itself."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()

    def start(self, words: list[str], folder: Path, **environment: str) -> ForkedProcess:
        """Start `python SCRIPT ARGUMENTS` in a folder, with pipes for its output."""
        read, write = zip(*(os.pipe() for _ in range(3)), strict=True)
        self._send(words, folder, environment, write)
        for end in write:
            os.close(end)
        status = os.fdopen(read[2], "rb", buffering=0)
        return ForkedProcess(words, status, *(open(end, encoding="utf-8") for end in read[:2]))

    def run(self, words: list[str], folder: Path, seconds: float) -> subprocess.CompletedProcess:
        """Run `python SCRIPT ARGUMENTS` in a folder, as `subprocess.run` with captured text does.

        Raises:
            TimeoutExpired: it did not end in time; it was killed.
        """
        process = self.start(words, folder)
        with process.stdout, process.stderr:
            output, errors = process.communicate(seconds)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def _send(self, words: list[str], folder: Path, environment: dict[str, str], files: Sequence[int]) -> None:
        request = {"words": words, "folder": str(folder), "environment": os.environ | environment}
        socket.send_fds(self._socket, [json.dumps(request).encode()], files)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def serve(connection: socket.socket) -> None:
    """Fork for each request until the other end is closed."""
    supervisors = set()
    while True:
        request, files = _receive(connection)
        if not request:
            return
        supervisor = os.fork()
        if supervisor == 0:
            connection.close()
            _supervise(json.loads(request), *files)
        for file in files:
            os.close(file)
        supervisors = {pid for pid in {*supervisors, supervisor} if os.waitpid(pid, os.WNOHANG)[0] == 0}


def _supervise(request: dict, stdout: int, stderr: int, status: int) -> None:
    """Fork the process that runs the script; write its process ID, and when it has ended its exit status."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _become(request, [stdout, stderr])
    os.close(stdout)
    os.close(stderr)
    os.write(status, b"%d\n" % pid)
    _, ended = os.waitpid(pid, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    files = array.array("i")
    request, ancillary, _, _ = connection.recvmsg(LONGEST_REQUEST, socket.CMSG_SPACE(3 * files.itemsize))
    for _, _, data in ancillary:
        files.frombytes(data)
    return request, list(files)


def _become(request: dict, files: list[int]) -> None:
    """Be the process that runs the script, and end with its status."""
    status = 1
    try:
        for stream, file in enumerate(files, 1):
            os.dup2(file, stream)
            os.close(file)
        sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))  # noqa: SIM115
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        script = request["words"][0]
        sys.argv = request["words"]
        sys.path[0] = str(Path(script).resolve().parent)
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    from convmixer.training.openmp import spin_briefly

    spin_briefly()  # before torch is imported, as the command line does
    # And what a training imports later: labml imports git, the first optimizer torch._dynamo, the first picture its
    # backend.
    import git  # noqa: F401
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import pandas as pd  # noqa: F401
    import torch._dynamo  # noqa: F401
    from PIL import Image

    import convmixer.cli
    import convmixer.commands.seeds
    import convmixer.commands.train
    import convmixer.trained.evaluate
    import convmixer.trained.export  # noqa: F401

    Image.init()
    serve(socket.socket(fileno=int(sys.argv[1])))
