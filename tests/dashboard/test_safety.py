"""What the running server refuses."""

import json
import pickle
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from dashboards import Dashboard

from convmixer.dashboard.guard import MAX_BODY, MAX_PATH, is_loopback

TARGETS = ("etc/passwd", "proc/self/environ")
UPS = (
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%5c",
    "..\\",
    "....//",
    "..;/",
    "%252e%252e%252f",
    "..%c0%af",
    "%c0%ae%c0%ae/",
    "..%00/",
    ".%2e/",
    "js/../../",
    "js/..%2f..%2f",
    "vendor/d3/..%2f..%2f..%2f",
    "images/%2e%2e/%2e%2e/",
    "run/..%2f..%2f",
    "runs/../../",
    "api/v1/..%2f..%2f",
)
HOSTILE = [
    *(f"/{up * 9}{target}" for up in UPS for target in TARGETS),
    "//etc/passwd",
    "///etc/passwd",
    "/%2fetc/passwd",
    "/%2f%2fetc%2fpasswd",
    "/file:///etc/passwd",
    "/js//etc/passwd",
    "/index.html/../../handlers.py",
    "/..%2fhandlers.py",
    "/../flask_app.py",
    "/%2e%2e/settings.py",
    "/js/bundle.min.js.map",
    "/css/style.css.map",
    "/.idea/workspace.xml",
    "/index.html%00.png",
    "/js/bundle.min.js%00",
    "/js/bundle.min.js/",
    "/JS/bundle.min.js",
    "/logs/dashboard.sqlite",
    "/dashboard.sqlite",
    "/..%2f..%2f..%2flogs%2fdashboard.sqlite",
    "/.git/config",
    "/openapi.json",
    "/docs",
    "/redoc",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_no_path_leaves_the_static_folder(dashboard: Dashboard, path: str) -> None:
    answer = dashboard.ask("GET", path)
    assert answer.status in (400, 404), answer.body[:200]
    assert b"root:" not in answer.body and b"PATH=" not in answer.body and b"import" not in answer.body


def test_there_are_at_least_fifty_hostile_paths() -> None:
    assert len(set(HOSTILE)) >= 50


@pytest.mark.parametrize(
    "path", ["/", "/runs", "/run/0123abc/metrics", "/settings", "/js/bundle.min.js", "/css/style.css"]
)
def test_the_page_itself_is_served(dashboard: Dashboard, path: str) -> None:
    answer = dashboard.ask("GET", path)
    assert answer.status == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    again = dashboard.ask("GET", path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status == 304


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/local/track?run_uuid=0123456789&labml_version=0.5.3"),
        ("POST", "/api/v1//track?run_uuid=0123456789&labml_version=0.5.3"),
        ("POST", "/api/v1/local/computer?session_uuid=0123456789&computer_uuid=0123456789"),
        ("PUT", "/api/v1/run/0123456789/claim"),
        ("PUT", "/api/v1/run/0123456789/add"),
        ("PUT", "/api/v1/session/0123456789/claim"),
        ("POST", "/"),
        ("DELETE", "/api/v1/runs"),
    ],
)
def test_it_takes_no_runs_in(dashboard: Dashboard, method: str, path: str) -> None:
    before = dashboard.list()
    answer = dashboard.ask(method, path, {"name": "smuggled", "track": {"loss": {"step": [1], "value": [1]}}})
    assert answer.status in (404, 405)
    assert dashboard.list().keys() == before.keys()


def test_it_deletes_no_runs(dashboard: Dashboard) -> None:
    answer = dashboard.ask("PUT", "/api/v1/runs", {"run_uuids": [dashboard.run]})
    assert answer.status == 409
    assert "folder" in answer.json()["error"]
    assert (dashboard.logs / "tiny-small" / dashboard.run / "run.yaml").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_cross_site_requests_are_refused(dashboard: Dashboard, headers: dict[str, str], method: str) -> None:
    answer = dashboard.ask(method, f"/api/v1/run/{dashboard.run}", {"name": "hacked"}, headers)
    assert answer.status == 403
    assert dashboard.api("GET", f"run/{dashboard.run}")["name"] == "tiny-small"


def test_a_link_to_a_page_may_be_followed_from_elsewhere(dashboard: Dashboard) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert dashboard.ask("GET", f"/run/{dashboard.run}", headers=headers).status == 200
    own = {"Origin": dashboard.url, "Sec-Fetch-Site": "same-origin"}
    assert dashboard.ask("GET", f"/api/v1/run/{dashboard.run}", headers=own).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:5005", "", "[", "evil.example@127.0.0.1:x"])
def test_a_name_that_leads_here_is_refused(dashboard: Dashboard, host: str) -> None:
    assert dashboard.ask("GET", f"/api/v1/run/{dashboard.run}", headers={"Host": host}).status in (400, 421)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_taken(dashboard: Dashboard, kind: str) -> None:
    body = json.dumps({"name": "hacked"}).encode()
    assert dashboard.ask("POST", f"/api/v1/run/{dashboard.run}", body, {"Content-Type": kind}).status == 415


def raw(dashboard: Dashboard, request: bytes) -> bytes:
    """The beginning of the answer to bytes as they stand."""
    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(200)


def test_a_request_that_is_too_large(dashboard: Dashboard) -> None:
    path = f"/api/v1/run/{dashboard.run}"
    note = json.dumps({"note": "x" * MAX_BODY}).encode()
    assert dashboard.ask("POST", path, note).status == 413
    assert dashboard.ask("GET", f"/runs?x={'x' * MAX_PATH}").status == 414
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    claimed = raw(dashboard, f"{head}Content-Length: 99999999999\r\n\r\n".encode())
    assert b" 413 " in claimed
    chunks = (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 5
    assert b" 413 " in raw(dashboard, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks)
    many = "".join(f"X-{i}: {'x' * 1000}\r\n" for i in range(100))
    assert b" 431 " in raw(dashboard, f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{many}\r\n".encode())
    assert dashboard.api("GET", f"run/{dashboard.run}")["note"] == ""


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("/tmp/unpickled"),))


@pytest.mark.parametrize(
    "body", [pickle.dumps(Bomb()), b"[]", b"1", b"{", b"", b"null", b'{"name": {"a": 1}}', b'{"note": 3}']
)
def test_malformed_bodies_change_nothing_and_run_nothing(dashboard: Dashboard, body: bytes) -> None:
    answer = dashboard.ask("POST", f"/api/v1/run/{dashboard.run}", body)
    assert answer.status == 400
    assert b"Traceback" not in answer.body
    assert not Path("/tmp/unpickled").exists()
    assert dashboard.api("GET", f"run/{dashboard.run}")["name"] == "tiny-small"


def test_nothing_kept_is_a_pickle(dashboard: Dashboard) -> None:
    dashboard.api("POST", "auth/user", {})
    with closing(sqlite3.connect(f"file:{dashboard.logs}/dashboard.sqlite?mode=ro", uri=True)) as index:
        tables = [name for (name,) in index.execute("select name from sqlite_master where type = 'table'")]
        values = [value for table in tables for row in index.execute(f'select * from "{table}"') for value in row]
    assert len(values) > 10
    assert not [value for value in values if isinstance(value, bytes) and value.startswith(pickle.PROTO)]


def test_a_run_that_is_not_there(dashboard: Dashboard) -> None:
    for path in ("run/nothing", "run/status/nothing", "session/nothing", "cpu/nothing", "metrics/preferences/nothing"):
        assert dashboard.ask("GET", f"/api/v1/{path}").status == 404


def test_another_host_needs_the_token(tmp_path: Path, start_dashboard: Callable[..., Dashboard]) -> None:
    dashboard = start_dashboard(tmp_path, "--host", "0.0.0.0")
    assert len(dashboard.token) >= 40
    everything = ("/", "/runs", "/js/bundle.min.js", "/api/v1/runs/null")
    wrong = ({}, {"X-Dashboard-Token": "wrong"}, {"X-Dashboard-Token": ""}, {"Cookie": f"dashboard_{dashboard.port}=x"})
    for path in everything:
        assert {dashboard.ask("GET", path, headers=headers).status for headers in wrong} == {401}
        assert dashboard.ask("GET", f"{path}?token=wrong").status == 401
        assert dashboard.ask("GET", path, headers={"X-Dashboard-Token": dashboard.token}).status == 200
    assert dashboard.ask("POST", f"/api/v1/user?token={dashboard.token}", {}).status == 401

    entered = dashboard.ask("GET", f"/?token={dashboard.token}")
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    assert dashboard.ask("GET", "/api/v1/runs/null", headers=headers).status == 200
    evil = {"Origin": "http://evil.example"}
    assert dashboard.ask("POST", "/api/v1/user", {"user": {}}, headers | evil).status == 403
    assert not (set(dashboard.logs.glob("*")) & {p for p in dashboard.logs.glob("*") if dashboard.token in _text(p)})


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1") if path.is_file() else ""


@pytest.mark.parametrize(
    ("host", "is_safe"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.8.8", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.3", False), ("localhost.example", False), ("", False), ("127.0.0.1.example", False)],
)  # fmt: skip
def test_which_hosts_are_loopback(host: str, is_safe: bool) -> None:
    assert is_loopback(host) == is_safe
