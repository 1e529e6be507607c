"""Clients that connect and then send or read nothing, or very slowly, keep nobody else from being answered."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn
from dashboards import Dashboard

from convmixer.dashboard import connections
from convmixer.dashboard.guard import Guard

LARGE = b"x" * 2**23  # more than the buffers of a connection hold


async def _app(scope: dict, receive: Callable, send: Callable) -> None:
    """Answers /slow after a second, /large with 8 MiB."""
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    body = LARGE if scope["path"] == "/large" else b"here"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server whose patience is 0.3 s, with at most 20 connections."""
    monkeypatch.setattr(connections, "PATIENCE", 0.3)
    monkeypatch.setattr(connections, "MOST", 20)
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Guard(_app, None), http=connections.ImpatientProtocol, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield sock.getsockname()[1]
    server.should_exit = True
    thread.join()


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(sent)
    return connection


def read_to_the_end(connection: socket.socket) -> int:
    """Bytes until the server closed the connection."""
    received = 0
    try:
        while chunk := connection.recv(2**20):
            received += len(chunk)
    except ConnectionResetError:
        pass
    return received


def ask(port: int, path: str = "/") -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().read()


HEAD = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", HEAD, HEAD + b"\r\n", HEAD + b"\r\nhalf a body"])
def test_who_does_not_send_on_is_left(port: int, sent: bytes) -> None:
    assert read_to_the_end(connect(port, sent)) == 0


def test_who_sends_a_byte_now_and_then_is_left(port: int) -> None:
    connection = connect(port, b"GET / HTTP/1.1\r\n")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        for _ in range(50):
            connection.sendall(b"X")
            time.sleep(0.1)


def test_half_a_request_after_a_whole_one(port: int) -> None:
    connection = connect(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTT")
    assert 0 < read_to_the_end(connection) < 1000


def test_who_does_not_read_is_left_and_who_reads_slowly_is_not(port: int) -> None:
    request = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    deaf, slow = connect(port, request), connect(port, request)
    received = 0
    while chunk := slow.recv(2**19):
        received += len(chunk)
        time.sleep(0.05)
    assert received > len(LARGE)
    time.sleep(0.7)
    assert read_to_the_end(deaf) < len(LARGE)


def test_an_answer_that_takes_the_server_long_is_waited_for(port: int) -> None:
    assert ask(port, "/slow") == b"here"


def test_of_too_many_connections_the_one_that_waits_longest_is_closed(port: int, monkeypatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 60)
    many = [connect(port, b"GET / HTT") for _ in range(60)]
    assert ask(port) == b"here"
    many[-1].sendall(b"P/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert many[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_two_hundred_half_headers_at_128_descriptors(tmp_path: Path, start_dashboard: Callable[..., Dashboard]) -> None:
    dashboard = start_dashboard(tmp_path, descriptors=128)
    many = [connect(dashboard.port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n") for _ in range(200)]
    for _ in range(5):
        assert dashboard.ask("GET", "/api/v1/runs/null").status == 200
    assert len(many) == 200
