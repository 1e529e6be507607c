"""Keeps clients that send or read slowly, or not at all, from holding the server's connections."""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ImportError:  # on Windows
    resource = None

PATIENCE = 10.0  # seconds without any progress of a client that the server waits for; it is left within twice that
AT_ONCE = 32  # connections that are accepted before it is seen that they are too many
MOST = 128  # connections at a time, and at most half of the file descriptors that the process may have


def most_connections() -> int:
    """Return how many connections are held at a time; run folders are read with what is left of the descriptors."""
    if resource is None:
        return MOST
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(MOST, descriptors // 2)


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for ever for a header, a body, or a reader."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = time.monotonic()  # of which the client was waited for
        self._before: Any = None
        self._timer = self.loop.call_later(PATIENCE, self._look)
        open_ones = [other for other in self.connections if not other.transport.is_closing()]
        if len(open_ones) > most_connections():
            waiting = [other for other in open_ones if other.waits_for() is not None]
            min(waiting or [self], key=lambda other: other.since).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.waits_for() is None:
            self.since = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def waits_for(self) -> tuple | None:
        """Return what the client is waited for, as a value that changes with its progress; None: it is served now."""
        unread = self.transport.get_write_buffer_size()
        if self.cycle is None or self.cycle.response_complete:
            return "request", id(self.cycle), unread
        if self.cycle.more_body:
            return "body", id(self.cycle), unread
        return ("reader", id(self.cycle), unread) if unread else None

    def _look(self) -> None:
        now = self.waits_for()
        if now is not None and now == self._before:
            self.transport.abort()
            return
        self._before = now
        self._timer = self.loop.call_later(PATIENCE, self._look)
