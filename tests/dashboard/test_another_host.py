"""A dashboard with a token, asked from another host: a network namespace with its own address, joined by a cable."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dashboards import Dashboard

HERE, THERE = "10.213.77.1", "10.213.77.2"
NAME = f"cml{os.getpid() % 10_000}"

ASK = """
import sys, urllib.request, urllib.error
request = urllib.request.Request(sys.argv[1], headers=dict(h.split("=", 1) for h in sys.argv[2:]))
try:
    answer = urllib.request.build_opener(urllib.request.HTTPCookieProcessor).open(request, timeout=10)
    print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
except urllib.error.URLError as error:
    print(type(error.reason).__name__)
"""


def _ip(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True)


@pytest.fixture
def other_host() -> Iterator[Callable[..., str]]:
    """Asks for an address from there, and returns the status."""
    try:
        made = _ip("netns", "add", NAME)
        made = made if made.returncode else _ip("link", "add", f"{NAME}a", "type", "veth", "peer", "name", f"{NAME}b")
    except FileNotFoundError:
        (pytest.fail if os.environ.get("CONVMIXER_CI") else pytest.skip)("there is no `ip` command")
    if made.returncode:
        _ip("netns", "delete", NAME)
        pytest.skip(f"no network namespace can be made: {made.stderr.strip()}")
    inside = ("netns", "exec", NAME, "ip")
    _ip("link", "set", f"{NAME}b", "netns", NAME)
    for arguments in (
        ("addr", "add", f"{HERE}/30", "dev", f"{NAME}a"),
        ("link", "set", f"{NAME}a", "up"),
        (*inside, "addr", "add", f"{THERE}/30", "dev", f"{NAME}b"),
        (*inside, "link", "set", f"{NAME}b", "up"),
    ):
        assert _ip(*arguments).returncode == 0, arguments

    def ask(url: str, *headers: str) -> str:
        return _ip("netns", "exec", NAME, sys.executable, "-c", ASK, url, *headers).stdout.strip()

    yield ask
    _ip("netns", "delete", NAME)
    _ip("link", "delete", f"{NAME}a")


def test_it_needs_the_token_and_then_shows_the_page(
    other_host: Callable[..., str], tmp_path: Path, start_dashboard: Callable[..., Dashboard]
) -> None:
    dashboard = start_dashboard(tmp_path, "--host", "0.0.0.0")
    there = f"http://{HERE}:{dashboard.port}"
    for path in ("/", "/js/bundle.min.js", "/api/v1/runs/null", "/?token=wrong"):
        assert other_host(there + path) == "401"
    assert other_host(f"{there}/?token={dashboard.token}") == "200"  # through the cookie
    assert other_host(f"{there}/api/v1/runs/null", f"X-Dashboard-Token={dashboard.token}") == "200"
    evil = "Origin=http://evil.example"
    assert other_host(f"{there}/api/v1/runs/null", f"X-Dashboard-Token={dashboard.token}", evil) == "403"


def test_one_for_loopback_is_not_reached(
    other_host: Callable[..., str], tmp_path: Path, start_dashboard: Callable[..., Dashboard]
) -> None:
    dashboard = start_dashboard(tmp_path)
    assert other_host(f"http://{HERE}:{dashboard.port}/") == "ConnectionRefusedError"
