"""Ctrl-C and SIGTERM end a run after the batch in hand, not in the middle of it."""

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, the first SIGINT or SIGTERM is noted in `signal`; a second one interrupts at once.

    Args:
        is_patient: not even a second one does; torchrun repeats what it is sent itself, and kills after 30 seconds.
    """

    def __init__(self, is_patient: bool = False) -> None:
        self.is_patient = is_patient
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        self._previous = {s: signal.signal(s, self._note) for s in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and not self.is_patient:
            raise KeyboardInterrupt
        self.signal = self.signal or number
