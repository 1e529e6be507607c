"""Starts the server that the command `dashboard` asks for, and ends it."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sqlite3
import webbrowser
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Thread
from typing import Any

from filelock import FileLock, Timeout

from convmixer.dashboard import address
from convmixer.dashboard.guard import MAX_HEADERS, Guard, is_loopback
from convmixer.dashboard.live_changes import Change
from convmixer.errors import UserError

DATABASE = "dashboard.sqlite"

log = logging.getLogger("convmixer")


def serve(logs: Path, host: str, port: int, change: Change, open_browser: bool = False) -> None:
    """Show the runs of `logs` until Ctrl-C.

    Args:
        change: asks for a change in the run of a folder, as `KEY=VALUE`.

    Raises:
        UserError: labml-app or the page's scripts are not available, the port is taken, or these runs have a dashboard.
    """
    with _alone(logs), _bound(host, port) as sock:
        static = _static_files()
        place = f"{_in_url(host)}:{sock.getsockname()[1]}"
        token = None if is_loopback(host) else secrets.token_urlsafe(32)
        _run(logs, static, sock, f"http://{place}", token, change, open_browser)


def _static_files() -> dict[str, bytes]:
    try:
        from convmixer.dashboard.assets import static_files

        return static_files()
    except ModuleNotFoundError as error:
        raise UserError(f"the dashboard needs {error.name}: pip install '.[dashboard]'") from None


@contextlib.contextmanager
def _alone(logs: Path) -> Any:
    lock = FileLock(logs / address.LOCK)
    try:
        logs.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=1)
    except Timeout:
        place = address.dashboard_url(logs)
        raise UserError(f"another dashboard shows {logs} already{f': {place}' if place else ''}") from None
    except OSError as error:
        raise UserError(f"{logs}: can't be written: {error.strerror}") from None
    with lock:
        yield


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # With its protocol named: without, asyncio leaves Nagle's algorithm on, which costs 40 ms an answer.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name != "nt":  # where it would take a port that another program serves
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()  # who comes before the app is up waits
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port}: {getattr(error, 'strerror', None) or error}") from None
    return sock


def _in_url(host: str) -> str:
    """The name under which this machine reaches a server on that address."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host


def _write_address(logs: Path, url: str) -> None:
    try:
        address.write_address(logs, url)
    except OSError as error:  # a full disk, say: pages are shown all the same
        log.warning("%s: %s: runs will not print the address of their page", logs, error.strerror)


def _run(
    logs: Path,
    static: dict[str, bytes],
    sock: socket.socket,
    url: str,
    token: str | None,
    change: Change,
    open_browser: bool,
) -> None:
    import uvicorn

    from convmixer.dashboard import app
    from convmixer.dashboard.connections import AT_ONCE, ImpatientProtocol
    from convmixer.dashboard.follower import Follower
    from convmixer.dashboard.storage import Store

    try:
        store = Store(logs / DATABASE)
    except (sqlite3.Error, OSError) as error:
        raise UserError(f"{logs / DATABASE}: {error}") from None
    follower = Follower(logs, store)

    @contextlib.asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        follower.look()
        following = asyncio.create_task(follower.follow())
        _write_address(logs, url)
        shown = url if token is None else f"{url}/?token={token}"
        print(f"dashboard  {shown}  (runs of {logs}; Ctrl-C ends it)", flush=True)
        if open_browser:  # aside: a browser in the terminal returns when it is left
            Thread(target=webbrowser.open, args=(shown,), daemon=True).start()
        try:
            yield
        finally:
            follower.stopped.set()
            following.cancel()
            address.remove_address(logs)

    guarded = Guard(app.build(follower, store, static, lifespan, change), token)
    config = uvicorn.Config(
        guarded,
        http=ImpatientProtocol,
        backlog=AT_ONCE,
        h11_max_incomplete_event_size=MAX_HEADERS,
        ws="none",
        lifespan="on",
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        store.close()
