"""Ctrl-C, SIGTERM and a closed terminal end a run after the batch in hand, not in the middle of it."""

import os
import signal
from types import FrameType, TracebackType

HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none


class StopRequest:
    """While entered, the first SIGINT, SIGTERM or SIGHUP is noted in `signal`; a second one interrupts at once.

    Not a second SIGHUP: a shell that ends repeats the kernel's. SIGHUP stays ignored where it was ignored before, as
    `nohup` has it.

    Args:
        is_patient: not even a second one does; torchrun repeats what it is sent itself, and kills after 30 seconds.
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
        """What is printed from now on would fail where the terminal is closed, and with it what remains to be saved."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in self._terminals:
            if not os.isatty(stream):
                os.dup2(nowhere, stream)
        os.close(nowhere)
