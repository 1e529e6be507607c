"""A client for a labml server on another machine: it sends packets, and asks which ones have arrived.

Whatever a server does, callers do not wait long, memory is limited, and only `NotTaken` is raised: each request runs
in its own daemon thread, whose connection is closed when its time is over.
"""

import json
import re
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from os import environ
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from labml import __version__

from convmixer.errors import UserError

EXAMPLE = "http://host:5005/api/v1/default"
PATIENCE = 20.0  # seconds for a packet
SHORT_PATIENCE = 2.0  # seconds for a question
LONGEST_ANSWER = 1 << 20  # bytes; labml's server answers in a few hundred
VARIABLE = re.compile(r"\$(\w+)")


class NotTaken(Exception):
    """The error if a server has not confirmed a packet. The message is the reason, in a few words."""


class Refused(NotTaken):
    """The error if a server answered with an HTTP error."""


def wrong_url(url: str) -> str | None:
    """Return the reason why `url` can't be labml's `app_url`; None if it can."""
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.path.strip("/")
    except ValueError:
        is_right = False
    if not is_right or not url.isascii() or " " in url:
        return f"tracking.app_url={url} is wrong, expected the address of a labml server, such as {EXAMPLE}"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "tracking.app_url can't have a user, `?` or `#`; labml's token is the end of its path"
    return None


def complete_url(url: str) -> str:
    """Replace each `$NAME` in the URL by that environment variable, so that a token need not be in a file.

    Raises:
        UserError: the URL is wrong, or a variable is not set.
    """
    missing = [name for name in VARIABLE.findall(url) if not environ.get(name)]
    if missing:
        raise UserError(f"tracking.app_url: ${missing[0]} is not set in the environment")
    complete = VARIABLE.sub(lambda match: environ[match[1]], url)
    wrong = wrong_url(complete)
    if wrong:
        raise UserError(wrong if complete == url else f"tracking.app_url: {url} with its variables is not an address")
    return complete.rstrip("/")


class AppServer:
    """The labml server at `url` (labml's `app_url`), for one run.

    Raises:
        UserError: the URL is wrong, or a variable in it is not set.
    """

    def __init__(self, url: str, run_uuid: str) -> None:
        self.url = complete_url(url)
        self.name = "{0.scheme}://{0.netloc}".format(urlsplit(self.url))  # to be printed: a token is in the path
        self._run_uuid = run_uuid

    def take(self, packet: dict[str, Any]) -> None:
        """Send a packet in labml's format.

        Raises:
            NotTaken: the server refused or failed, or has not confirmed the packet after `PATIENCE` seconds.
        """
        run = {"run_uuid": self._run_uuid, "rank": 0, "main_rank": 0, "world_size": 0, "labml_version": __version__}
        exchange = _Exchange(f"{self.url}/track?{urlencode(run)}", json.dumps(packet).encode())
        end = time.monotonic() + PATIENCE
        while not exchange.ended(0.5):  # labml's server answers 3 s after it has stored a packet
            if time.monotonic() > end:
                exchange.hang_up()
                raise NotTaken(f"no answer within {PATIENCE:.0f} s")
            with suppress(NotTaken):
                if self.has(packet["status"]["time"]):
                    return exchange.hang_up()
        _check(exchange.answer())

    def has(self, mark: float) -> bool:
        """Return True if the last packet that the server took is the one whose `status.time` is `mark`.

        Raises:
            NotTaken: the server does not answer.
        """
        root = self.url.rpartition("/")[0]  # what precedes the token
        exchange = _Exchange(f"{root}/run/status/{self._run_uuid}")
        if not exchange.ended(SHORT_PATIENCE):
            exchange.hang_up()
            raise NotTaken(f"no answer within {SHORT_PATIENCE:.0f} s")
        try:
            return json.loads(exchange.answer())["run_status"]["time"] == mark
        except (Refused, ValueError, KeyError, TypeError, RecursionError):
            return False  # it does not know the run, or this request


def _check(answer: bytes) -> None:
    """Raise `NotTaken` unless the answer is a labml server's confirmation."""
    try:
        errors = json.loads(answer)["errors"]
        reasons = [f"{e['error']}: {e['message']}" for e in errors if "warning" not in e]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotTaken("its answer is not that of a labml server") from None
    if reasons:
        raise NotTaken(f"answered {_printable(reasons[0])}")


def _printable(text: str) -> str:
    """Return a server's text with unprintable characters replaced, for a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:200])


class _Exchange(threading.Thread):
    """A request and its answer, in its own thread."""

    def __init__(self, url: str, body: bytes | None = None) -> None:
        super().__init__(daemon=True)
        self._request = Request(url, body, {"Content-Type": "application/json; charset=utf-8"})
        self._socket: socket.socket | None = None
        self._hung_up = False
        self._answer = b""
        self._failure: NotTaken | None = None
        self.start()

    def run(self) -> None:
        opener = build_opener(_Http(self), _Https(self), _NoRedirect)
        try:
            with opener.open(self._request, timeout=2 * PATIENCE) as response:  # hung up before, if it is connected
                self._answer = response.read(LONGEST_ANSWER)
        except HTTPError as error:
            error.close()
            self._failure = Refused(f"answered {error.code} {_printable(str(error.reason))}")
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            self._failure = NotTaken(_printable(words))

    def connected(self, connection: HTTPConnection) -> None:
        self._socket = connection.sock
        if self._hung_up:
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, so that the thread ends."""
        self._hung_up = True
        with suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def ended(self, seconds: float) -> bool:
        """Wait up to `seconds`, and return True if there is an answer or a failure."""
        self.join(seconds)
        return not self.is_alive()

    def answer(self) -> bytes:
        """Return the server's answer.

        Raises:
            NotTaken: the request failed.
        """
        if self._failure:
            raise self._failure
        return self._answer


def _reporting(kind: type[HTTPConnection], exchange: _Exchange) -> type[HTTPConnection]:
    """Return a connection class that tells the exchange when it is connected, so that it can be closed."""

    class Connection(kind):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            exchange.connected(self)

    return Connection


class _Http(HTTPHandler):
    def __init__(self, exchange: _Exchange) -> None:
        super().__init__()
        self._connection = _reporting(HTTPConnection, exchange)

    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(self._connection, request)


class _Https(HTTPSHandler):
    def __init__(self, exchange: _Exchange) -> None:
        super().__init__()
        self._connection = _reporting(HTTPSConnection, exchange)

    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(self._connection, request)


class _NoRedirect(HTTPRedirectHandler):
    """A handler that follows no redirects: a token in the URL must not go to another server."""

    def redirect_request(self, *arguments: Any) -> None:
        """Return None, which makes the redirect an error."""
