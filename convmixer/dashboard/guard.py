"""Stands between the network and the app: decides who may ask, from where, and how much."""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAX_BODY = 2**18  # bytes
MAX_PATH = 2**10  # bytes, with the query
MAX_HEADERS = 2**14  # bytes
TOKEN_HEADER = "x-dashboard-token"
HEADERS = {
    # Scripts and styles are the server's own files; what a run's name or console says never runs.
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches a server on that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """An ASGI app around another. With a `token` every request must bring it; without, it must be for loopback."""

    def __init__(self, app: App, token: str | None) -> None:
        self._app = app
        self._token = token
        self._cookie = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no page needs a web socket
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._cookie = f"dashboard_{scope['server'][1]}"
        refusal = _wrong_size(scope, headers) or self._wrong_place(scope, headers)
        if refusal:
            await _answer(send, *refusal)
        elif self._token and not self._knows_token(headers):
            await self._log_in(scope, send)
        else:
            await self._pass_on(scope, receive, send)

    def _wrong_place(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Requests that another site's page makes the browser send, also under a name that leads here."""
        host = headers.get("host", "")
        if self._token is None and not is_loopback(_name(host)):
            return 421, "this dashboard serves loopback"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "cross-site requests are refused"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _is_followed_link(
            scope, headers
        ):
            return 403, "cross-site requests are refused"
        if scope["method"] not in ("GET", "HEAD") and _media_type(headers) != "application/json":
            return 415, "expected application/json"
        return None

    def _knows_token(self, headers: dict[str, str]) -> bool:
        return self._is_token(headers.get(TOKEN_HEADER, "")) or self._is_token(_cookie(headers, self._cookie))

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), (self._token or "").encode())

    async def _log_in(self, scope: Scope, send: Send) -> None:
        """The address that was printed holds the token: it becomes a cookie."""
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] != "GET" or not self._is_token(offered):
            await _answer(send, 401, "this dashboard needs the token that it printed when it was started")
            return
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
        await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            await _answer(send, 413, f"a request may have {MAX_BODY} bytes")
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> dict[str, Any]:
            return messages.pop() if messages else await receive()

        async def with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_raw(HEADERS)]
            await send(message)

        await self._app(scope, received, with_headers)


async def _body(receive: Receive) -> bytes | None:
    """The whole body, or None where it is too large, whatever its length was said to be."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return body


def _wrong_size(scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_PATH:
        return 414, f"an address may have {MAX_PATH} bytes"
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
        return 431, f"headers may have {MAX_HEADERS} bytes"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        return 413, f"a request may have {MAX_BODY} bytes"
    return None


def _is_followed_link(scope: Scope, headers: dict[str, str]) -> bool:
    """A link to a page on another site, followed by the user: it shows the page and no data."""
    is_navigation = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return scope["method"] == "GET" and is_navigation and not scope["path"].startswith("/api/")


def _name(host: str) -> str:
    """`[::1]:5005` to `::1`."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if "@" not in host else ""
    except ValueError:
        return ""


def _media_type(headers: dict[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _cookie(headers: dict[str, str], name: str) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    plain = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(text)),
        **(headers or {}),
        **HEADERS,
    }
    await send({"type": "http.response.start", "status": status, "headers": _raw(plain)})
    await send({"type": "http.response.body", "body": text.encode()})
