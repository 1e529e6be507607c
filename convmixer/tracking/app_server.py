"""A labml server elsewhere, as a run meets it: takes packets, and says which it has.

Nothing that a server does or leaves undone keeps a caller waiting for long, fills memory, or raises anything but
`NotTaken`: each request runs in a daemon thread of its own, which is hung up when its time is over.
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
    """A server did not take a packet, as far as is known: why, in a few words."""


class Refused(NotTaken):
    """It answered, with an HTTP error."""


def wrong_url(url: str) -> str | None:
    """Why `url` can't be labml's `app_url`."""
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.path.strip("/")
    except ValueError:
        is_right = False
    if not is_right or not url.isascii() or " " in url:
        return f"tracking.app_url={url} is wrong, expected a labml server's address, as {EXAMPLE}"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "tracking.app_url must have no user, `?` or `#`; labml's token is the end of its path"
    return None


def complete_url(url: str) -> str:
    """The URL with each `$NAME` replaced by that variable of the environment; so a token is kept in no file.

    Raises:
        UserError: the URL is wrong, or a variable is not set.
    """
    missing = [name for name in VARIABLE.findall(url) if not environ.get(name)]
    if missing:
        raise UserError(f"tracking.app_url: ${missing[0]} is not set in the environment")
    complete = VARIABLE.sub(lambda match: environ[match[1]], url)
    wrong = wrong_url(complete)
    if wrong:
        raise UserError(wrong if complete == url else f"tracking.app_url: {url} is no address with its variables set")
    return complete.rstrip("/")


class AppServer:
    """The labml server at `url` (labml's `app_url`), for one run.

    Raises:
        UserError: what `complete_url` raises.
    """

    def __init__(self, url: str, run_uuid: str) -> None:
        self.url = complete_url(url)
        self.name = "{0.scheme}://{0.netloc}".format(urlsplit(self.url))  # to be printed: a token is in the path
        self._run_uuid = run_uuid

    def take(self, packet: dict[str, Any]) -> None:
        """Hand over a packet in labml's format.

        Raises:
            NotTaken: it refused, failed, or neither answered nor has the packet after `PATIENCE` seconds.
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
        """Whether the last packet that it took is the one whose `status.time` is `mark`.

        Raises:
            NotTaken: it can't be asked now.
        """
        root = self.url.rpartition("/")[0]  # what precedes the token
        exchange = _Exchange(f"{root}/run/status/{self._run_uuid}")
        if not exchange.ended(SHORT_PATIENCE):
            exchange.hang_up()
            raise NotTaken(f"no answer within {SHORT_PATIENCE:.0f} s")
        try:
            return json.loads(exchange.answer())["run_status"]["time"] == mark
        except (Refused, ValueError, KeyError, TypeError, RecursionError):
            return False  # it does not know the run, or such questions


def _check(answer: bytes) -> None:
    """Raise `NotTaken` for what is no labml server's consent."""
    try:
        errors = json.loads(answer)["errors"]
        reasons = [f"{e['error']}: {e['message']}" for e in errors if "warning" not in e]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotTaken("answered what no labml server answers") from None
    if reasons:
        raise NotTaken(f"answered {_printable(reasons[0])}")


def _printable(text: str) -> str:
    """Text of a server's, fit for a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:200])


class _Exchange(threading.Thread):
    """One request and its answer."""

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
        """Let the thread end, whatever the server does."""
        self._hung_up = True
        with suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def ended(self, seconds: float) -> bool:
        """Whether there is an answer, or a failure, after so many seconds."""
        self.join(seconds)
        return not self.is_alive()

    def answer(self) -> bytes:
        """What the server answered, or the reason why it has not."""
        if self._failure:
            raise self._failure
        return self._answer


def _reporting(kind: type[HTTPConnection], exchange: _Exchange) -> type[HTTPConnection]:
    """A connection that tells the exchange when it stands: from then on it can be hung up."""

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
    """A packet, and the token in its URL, go where the user said and nowhere else."""

    def redirect_request(self, *arguments: Any) -> None:
        """Treat it as the error that it then is."""
