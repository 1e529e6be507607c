"""Downloads files: bounded, checked, resumed where they stopped.

A server that refuses, does not answer, stalls or is very slow is given up within seconds, so that another can be asked.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from convmixer.console import rich_console
from convmixer.errors import Unavailable

PATIENCE = 8.0  # seconds to begin an answer, to send more of it, and over which the rate is measured
LEAST_RATE = 100_000  # bytes per second: a server that sends less is slow
PAUSES = (0.5, 1.0)  # seconds before each further try: servers refuse a connection now and then
PIECE = 2**18  # bytes


class TooSlow(Unavailable):
    """The error if a server sends the file too slowly."""


def download(url: str, path: Path, size: int, digest: str, least_rate: float = 0.0) -> None:
    """Download the file at `url` to `path` and check it; an earlier, incomplete download is resumed.

    A terminal shows a bar with the time left. Proxies are taken from the environment.

    Args:
        size: bytes of the whole file.
        digest: of the whole file, as `sha512:<hexadecimal>` or `md5:<hexadecimal>`.
        least_rate: bytes per second; a server that sends less for `PATIENCE` seconds is given up.

    Raises:
        TooSlow: the server was given up for its rate. What has come stays at `path`, to be resumed.
        Unavailable: the server does not send that file. What has come stays, except if it is damaged.
        OSError: `path` can't be written.
    """
    transfer = _Transfer(url, path, size, least_rate)
    while True:
        resumed = transfer.length() > 0
        transfer.complete()
        if _has_digest(path, digest):
            return
        path.unlink()
        if not resumed:  # else the first part may have been of another file: once more from the start
            raise Unavailable(f"{url} sends a damaged file: its {digest.partition(':')[0].upper()} is wrong")


def read(url: str, limit: int) -> bytes:
    """Return the content of the file at `url`.

    Raises:
        Unavailable: the server does not send it, or it has more than `limit` bytes.
    """
    content = bytearray()
    with _opened(url) as response:
        for piece in _pieces(response, url, least_rate=0.0):
            content += piece
            if len(content) > limit:
                raise Unavailable(f"{url} has more than {limit:,} bytes")
        if response.length:  # bytes that were announced and did not come
            raise Unavailable(f"{url} was cut off after {len(content):,} bytes")
    return bytes(content)


def _has_digest(path: Path, digest: str) -> bool:
    algorithm, _, expected = digest.partition(":")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest() == expected


@dataclass
class _Transfer:
    """Brings a file of `size` bytes from `url` to `path`."""

    url: str
    path: Path
    size: int
    least_rate: float

    def length(self) -> int:
        """Return the number of bytes that were downloaded."""
        return self.path.stat().st_size if self.path.exists() else 0

    def complete(self) -> None:
        """Download the missing bytes. A transfer that is cut off is resumed at once, if the server supports it."""
        if self.length() > self.size:
            self.path.unlink()
        while (start := self.length()) < self.size:
            with _opened(self.url, start) as response:
                can_resume = response.status == 206 or response.headers["Accept-Ranges"] == "bytes"
                self._append(response, self._first_byte(response, start))
            length = self.length()
            if length < self.size and not (can_resume and length >= start + PIECE):
                raise Unavailable(f"{self.url} was cut off after {length:,} of {self.size:,} bytes")

    def _first_byte(self, response: HTTPResponse, start: int) -> int:
        """Return the position in the file where the answer begins: `start`, or 0 if the server only sends all of it."""
        if response.status == 206:
            part, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            if part.partition("-")[0] != str(start):
                raise Unavailable(f"{self.url} sends another part than it was asked for")
        else:
            start, total = 0, response.headers.get("Content-Length", "")
        if total.isdecimal() and int(total) != self.size:
            raise Unavailable(f"{self.url} sends another file: {int(total):,} bytes, expected {self.size:,}")
        return start

    def _append(self, response: HTTPResponse, start: int) -> None:
        with open(self.path, "ab" if start else "wb") as file, _bar() as bar:
            task = bar.add_task(urlsplit(self.url).path.rpartition("/")[2], total=self.size, completed=start)
            for piece in _pieces(response, self.url, self.least_rate):
                file.write(piece)
                if file.tell() > self.size:
                    raise Unavailable(f"{self.url} sends another file: more than {self.size:,} bytes")
                bar.update(task, completed=file.tell())


def _pieces(response: HTTPResponse, url: str, least_rate: float) -> Iterator[bytes]:
    """Yield the parts of the body as they arrive, until its end or until it is cut off.

    Raises:
        TooSlow: it came more slowly than `least_rate`.
        Unavailable: nothing came for `PATIENCE` seconds.
    """
    host = urlsplit(url).hostname
    since, came = time.monotonic(), 0
    while True:
        try:
            piece = response.read1(PIECE)
        except TimeoutError:
            raise Unavailable(f"{host} stopped sending for {PATIENCE:g} seconds") from None
        except (OSError, HTTPException):  # a connection that broke
            return
        if not piece:
            return
        yield piece
        came += len(piece)
        seconds = time.monotonic() - since
        if seconds >= PATIENCE:
            if came < least_rate * seconds:
                raise TooSlow(f"{host} sends only {came / seconds / 1000:.0f} kB/s")
            since, came = time.monotonic(), 0


def _opened(url: str, start: int = 0) -> HTTPResponse:
    """Return the answer to a request for the file from byte `start` on.

    Raises:
        Unavailable: there is none, or the server refuses.
    """
    for pause in (*PAUSES, None):
        try:
            return _asked(url, start)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: not an address
            why = getattr(error, "reason", error)  # without urllib's wrapping
            if pause is None or not isinstance(why, ConnectionError):
                raise Unavailable(f"{url} can't be fetched: {getattr(why, 'strerror', None) or why}") from error
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _asked(url: str, start: int) -> HTTPResponse:
    """The answer, or Unavailable within `PATIENCE` seconds.

    In a thread, as urllib's own time-out leaves out the look-up of names and starts anew for every address.
    """
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    answer: Future[HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(build_opener().open(request, timeout=PATIENCE))
        except Exception as problem:  # raised again below, where it is waited for
            answer.set_exception(problem)

    Thread(target=ask, daemon=True).start()
    try:
        return answer.result(PATIENCE)
    except TimeoutError as problem:
        raise Unavailable(f"{urlsplit(url).hostname} did not answer within {PATIENCE:g} seconds") from problem


def _bar() -> Progress:
    """Bytes, rate and time left on a terminal; nothing elsewhere."""
    console = rich_console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
