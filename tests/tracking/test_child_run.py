"""Runs in processes of their own: signals reach them, whatever their starter does with its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PROJECT

from convmixer.tracking.child_run import SignalRelay, start_run

# Says how it is with SIGINT, what its uuid is, and then waits.
CHILD = """
import os, signal, time
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.pthread_sigmask(0, []), flush=True)
print(os.environ["RUN_UUID"], os.getsid(0) == os.getpid(), flush=True)
time.sleep(60)
"""

STARTER = """
import sys, time
from convmixer.tracking.child_run import start_run
print(start_run(["-c", sys.argv[1]], "5eed", outlives=bool(int(sys.argv[2]))).pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def ignored_sigint() -> None:
    """As a shell's background job has it, and IPython between two cells."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ignored_sigint")
def test_a_child_inherits_no_ignored_or_blocked_signal() -> None:
    process = start_run(["-c", CHILD], "5eed", stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == "True set()\n"
    assert process.stdout.readline() == "5eed True\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_reaches_the_child_and_its_status_is_a_shells(number: signal.Signals) -> None:
    with SignalRelay() as relay:
        process = start_run(["-c", "import time; print(flush=True); time.sleep(60)"], "5eed", **QUIET)
        process.stdout.readline()
        send_in(0.2, number)
        assert relay.wait_for(process) == (129 if number == signal.SIGHUP else 143)
        assert relay.signal == number


def test_one_that_comes_while_the_child_is_started_is_not_lost() -> None:
    with SignalRelay() as relay:
        os.kill(os.getpid(), signal.SIGTERM)
        process = start_run(["-c", "import time; time.sleep(60)"], "5eed", **QUIET)
        begun = time.monotonic()
        assert relay.wait_for(process) == 143
        assert time.monotonic() - begun < 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has ended")
@pytest.mark.parametrize("outlives", [False, True])
def test_killed_its_starter_takes_the_child_along_unless_it_is_to_outlive_it(outlives: bool) -> None:
    command = [sys.executable, "-c", STARTER, "import time; time.sleep(60)", str(int(outlives))]
    starter = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    child = int(starter.stdout.readline())
    time.sleep(0.5)  # for the leash
    starter.kill()
    starter.wait()
    if outlives:
        time.sleep(0.5)
        assert is_there(child)
        os.kill(child, signal.SIGKILL)
    else:
        wait_until(lambda: not is_there(child))


QUIET = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}


def send_in(seconds: float, number: int) -> None:
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -{int(number)} {os.getpid()}"])


def is_there(process: int) -> bool:
    """True where it runs; one that has ended may lie there until somebody asks for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
