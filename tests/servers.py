"""A server on loopback that sends files, and does what servers do wrong: refuses, stalls, is slow, breaks off."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Server:
    """What a server sends, and what it was asked.

    Attributes:
        files: by path.
        status: 200, or what it refuses with.
        delay: seconds before it answers.
        cut_after: bytes after which a transfer ends, each time; none: at the end.
        stall: seconds that it waits there before it closes the connection.
        rate: bytes per second; none: all at once.
        ranges: it can send the rest of a file.
        declared: the length that it announces in place of the true one; -1: none.
        asked: the path, and the first byte, of each request.
        sent: bytes of files.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    delay: float = 0.0
    cut_after: int | None = None
    stall: float = 0.0
    rate: int | None = None
    ranges: bool = True
    declared: int | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)
    sent: int = 0
    url: str = ""


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs meanwhile."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            state.asked.append((self.path, start))
            time.sleep(state.delay)
            content = state.files.get(self.path)
            if content is None or state.status != 200:
                self.send_error(404 if content is None else state.status)
                return
            start = start if state.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if state.ranges:
                self.send_header("Accept-Ranges", "bytes")
            if state.declared != -1:
                self.send_header("Content-Length", str(state.declared or len(content) - start))
            self.end_headers()
            self.send(content[start : None if state.cut_after is None else start + state.cut_after])
            time.sleep(state.stall)

        def send(self, content: bytes) -> None:
            piece = state.rate // 20 if state.rate else 2**20
            for first in range(0, len(content), piece):
                self.wfile.write(content[first : first + piece])
                state.sent += len(content[first : first + piece])
                if state.rate:
                    time.sleep(0.05)

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # the client has gone, as it should
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
