"""Stops a run after the current batch: on a signal, when its terminal is closed, or when its reader has left."""

import signal
from types import FrameType, TracebackType

from convmixer.console import let_go_of_gone_output
from convmixer.training.distributed.workers import Workers

HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
READER_LEFT = getattr(signal, "SIGPIPE", None)


class StopRequest:
    """A context that stores the first SIGINT, SIGTERM or SIGHUP in `signal`; a second one interrupts at once.

    A second SIGHUP does not interrupt, as a shell that ends repeats the kernel's. SIGHUP stays ignored if it was
    ignored before, as with `nohup`. A reader of the output that leaves, as `head` does, is stored as SIGPIPE.

    Args:
        is_patient: a second signal does not interrupt either; torchrun repeats signals, and kills after 30 seconds.
    """

    def __init__(self, is_patient: bool = False) -> None:
        self.is_patient = is_patient
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        noted = [signal.SIGINT, signal.SIGTERM]
        if HANG_UP and signal.getsignal(HANG_UP) != signal.SIG_IGN:
            noted.append(HANG_UP)
        if READER_LEFT:
            noted.append(READER_LEFT)
        self._previous = {s: signal.signal(s, self._note) for s in noted}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def is_agreed(self, workers: Workers) -> bool:
        """Return True in all workers if one of them has received a signal; `signal` is then the same in all."""
        agreed = workers.all_reduce_max(self.signal)
        if agreed is None:  # leave `signal` alone: it may have come while the workers asked each other
            return False
        self.signal = agreed
        return True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in (HANG_UP, READER_LEFT):
            is_gone = let_go_of_gone_output()
            if number == READER_LEFT and not is_gone:  # the other end of a socket has left
                return
        elif self.signal is not None and not self.is_patient:
            raise KeyboardInterrupt
        self.signal = self.signal or number
