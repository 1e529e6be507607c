"""Signals that ask a run to stop."""

import os
import signal
from collections.abc import Callable

import pytest

from convmixer.training.distributed.workers import Workers
from convmixer.training.stopping import StopRequest


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_the_first_signal_is_noted_and_handlers_come_back(number) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        send(number)
        assert stop.signal == number
    assert signal.getsignal(number) == before


def test_a_second_one_interrupts_at_once() -> None:
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
        send(signal.SIGINT)


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM], ids=lambda n: n.name)
def test_a_second_hang_up_does_not(first) -> None:
    """A closed terminal often sends two, and systemd one right after SIGTERM."""
    with StopRequest() as stop:
        send(first)
        send(signal.SIGHUP)
        assert stop.signal == first


def test_under_nohup_a_hang_up_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


class TwoWorkers(Workers):
    """The first of two workers. The other one has no signal; `ask` is called while they ask each other."""

    ask: Callable[[], None]

    def all_reduce_max(self, number: int | None) -> int | None:
        answer = number
        self.ask()
        return answer


def test_a_signal_that_comes_while_workers_ask_each_other_is_not_lost() -> None:
    """They agree on it after the next update: the answer to the first question was "nobody"."""
    workers = TwoWorkers()
    with StopRequest() as stop:
        workers.ask = lambda: send(signal.SIGTERM)
        assert not stop.is_agreed(workers)
        workers.ask = lambda: None
        assert stop.is_agreed(workers)
        assert stop.signal == signal.SIGTERM
