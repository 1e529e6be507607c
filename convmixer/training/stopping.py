"""Stops a run after the current batch, on Ctrl-C, SIGTERM or a closed terminal."""

import os
import signal
from types import FrameType, TracebackType

HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none


class StopRequest:
    """A context that stores the first SIGINT, SIGTERM or SIGHUP in `signal`; a second one interrupts at once.

    A second SIGHUP does not interrupt, as a shell that ends repeats the kernel's. SIGHUP stays ignored if it was
    ignored before, as with `nohup`.

    Args:
        is_patient: a second signal does not interrupt either; torchrun repeats signals, and kills after 30 seconds.
    """

    def __init__(self, is_patient: bool = False) -> None:
        self.is_patient = is_patient
        self.signal: int | None = None
        self._previous: dict[int, object] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> "StopRequest":
        noted = [signal.SIGINT, signal.SIGTERM]
        if HANG_UP and signal.getsignal(HANG_UP) != signal.SIG_IGN:
            noted.append(HANG_UP)
        self._previous = {s: signal.signal(s, self._note) for s in noted}
        self._terminals = [stream for stream in (1, 2) if os.isatty(stream)]
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == HANG_UP:
            self._let_go_of_terminals()
        elif self.signal is not None and not self.is_patient:
            raise KeyboardInterrupt
        self.signal = self.signal or number

    def _let_go_of_terminals(self) -> None:
        """Send further output to nowhere if the terminal is closed, so that printing does not fail before the save."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in self._terminals:
            if not os.isatty(stream):
                os.dup2(nowhere, stream)
        os.close(nowhere)
