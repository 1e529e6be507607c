"""Runs scripts as processes that have their imports behind them: forks of one that has imported torch and the package.

Importing takes three seconds of a process, and the tests run hundreds. What follows the fork is what
`python SCRIPT ARGUMENTS` does after its imports. As a script, this is that process: it forks for each request.
"""

import array
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

LONGEST_REQUEST = 2**20  # bytes


class Preloaded:
    """A process that has imported the package, and runs one script after another in forks of itself."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()

    def run(self, words: list[str], folder: Path, seconds: float) -> subprocess.CompletedProcess:
        """Run `python SCRIPT ARGUMENTS` in a folder, as `subprocess.run` with captured text does.

        Raises:
            TimeoutExpired: it did not end in time; it was killed.
        """
        request = json.dumps({"words": words, "folder": str(folder), "environment": dict(os.environ)}).encode()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            socket.send_fds(self._socket, [request], [output.fileno(), errors.fileno()])
            pid = int(self._socket.recv(64))
            self._socket.settimeout(seconds)
            try:
                status = int(self._socket.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._socket.settimeout(None)
                self._socket.recv(64)
                raise subprocess.TimeoutExpired(words, seconds) from None
            self._socket.settimeout(None)
            return subprocess.CompletedProcess(words, status, _text(output), _text(errors))

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def _text(file) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def serve(connection: socket.socket) -> None:
    """Fork for each request until the other end is closed."""
    while True:
        request, files = _receive(connection)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            connection.close()
            _become(json.loads(request), files)
        for file in files:
            os.close(file)
        connection.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    files = array.array("i")
    request, ancillary, _, _ = connection.recvmsg(LONGEST_REQUEST, socket.CMSG_SPACE(2 * files.itemsize))
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
    import matplotlib.figure  # noqa: F401
    import pandas as pd  # noqa: F401

    import convmixer.cli
    import convmixer.commands.seeds
    import convmixer.trained.evaluate
    import convmixer.trained.export  # noqa: F401

    serve(socket.socket(fileno=int(sys.argv[1])))
