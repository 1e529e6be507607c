"""Downloads from a server on loopback that does what servers do wrong."""

import hashlib
import os
import pty
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from conftest import PROJECT
from servers import Server, serving

from convmixer.errors import Unavailable
from convmixer.files import download as module
from convmixer.files.download import PIECE, TooSlow, download, read

CONTENT = random.Random(0).randbytes(3 * PIECE)
DIGEST = f"sha512:{hashlib.sha512(CONTENT).hexdigest()}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    with serving() as state:
        state.files["/file"] = CONTENT
        yield state


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)


def fetch(server: Server, path: Path, **options: float) -> None:
    download(f"{server.url}/file", path, len(CONTENT), DIGEST, **options)


def test_a_file_comes_whole(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    fetch(server, tmp_path / "file")
    assert not server.asked


def test_an_earlier_part_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT[:1000])
    fetch(server, tmp_path / "file")
    assert server.asked == [("/file", 1000)] and (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file").write_bytes(CONTENT[:1000])
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [b"of another file", b"x" * (len(CONTENT) + 1)], ids=["wrong", "too long"])
def test_an_earlier_part_of_another_file_is_replaced(server: Server, tmp_path: Path, begun: bytes) -> None:
    (tmp_path / "file").write_bytes(begun)
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_transfer_that_is_cut_off_is_resumed_at_once(server: Server, tmp_path: Path) -> None:
    server.cut_after = PIECE
    fetch(server, tmp_path / "file")
    assert [start for _, start in server.asked] == [0, PIECE, 2 * PIECE]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_what_has_come_stays_for_the_next_call(server: Server, tmp_path: Path) -> None:
    server.cut_after = 1000
    with pytest.raises(Unavailable, match=r"was cut off after 1,000 of 786,432 bytes"):
        fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT[:1000]
    server.cut_after = None
    fetch(server, tmp_path / "file")
    assert server.asked[-1] == ("/file", 1000)


def test_a_server_that_always_breaks_off_and_can_not_resume_is_given_up(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.ranges = PIECE, False
    with pytest.raises(Unavailable, match="was cut off"):
        fetch(server, tmp_path / "file")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"status": 403}, "can't be fetched: Forbidden"),
        ({"files": {}}, "can't be fetched: Not Found"),
        ({"files": {"/file": b"<html>log in to this network</html>"}}, "sends another file: 35 bytes, expected"),
        ({"files": {"/file": CONTENT + b"x"}, "declared": -1}, "sends another file: more than"),
        ({"files": {"/file": CONTENT[:-1] + b"x"}}, "sends a damaged file: its SHA512 is wrong"),
    ],
)
def test_nonsense_is_not_taken(server: Server, tmp_path: Path, answer: dict, says: str) -> None:
    vars(server).update(answer)
    with pytest.raises(Unavailable, match=says) as error:
        fetch(server, tmp_path / "file")
    assert "\n" not in str(error.value)


def test_a_server_that_does_not_answer_is_given_up(server: Server, tmp_path: Path, impatient: None) -> None:
    server.delay = 60
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 (did not answer within 0\.5 seconds|.*timed out)"):
        fetch(server, tmp_path / "file")
    assert time.monotonic() - start < 15


def test_a_name_lookup_that_hangs_is_given_up(
    server: Server, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """urllib's own time-out does not cover it."""

    is_over = Event()

    def hang(*_: object, **__: object) -> None:
        is_over.wait(60)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 did not answer within 0\.5 seconds"):
        fetch(server, tmp_path / "file")
    assert time.monotonic() - start < 15
    is_over.set()


def test_a_server_that_stalls_is_given_up(server: Server, tmp_path: Path, impatient: None) -> None:
    server.cut_after, server.stall = PIECE, 60
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"stopped sending for 0\.5 seconds"):
        fetch(server, tmp_path / "file")
    assert time.monotonic() - start < 15
    assert (tmp_path / "file").read_bytes() == CONTENT[:PIECE]


def test_a_slow_server_is_given_up_while_there_are_others(server: Server, tmp_path: Path, impatient: None) -> None:
    server.rate = 50_000
    with pytest.raises(TooSlow, match=r"127\.0\.0\.1 sends only \d+ kB/s"):
        fetch(server, tmp_path / "file", least_rate=200_000)
    came = (tmp_path / "file").stat().st_size
    assert 10_000 < came < 50_000
    server.rate = 2_000_000
    fetch(server, tmp_path / "file")
    assert server.asked[-1] == ("/file", came)


def test_a_refused_connection_is_tried_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real, problems = module._asked, [ConnectionRefusedError("refused"), ConnectionResetError("reset")]

    def asked(url: str, start: int) -> object:
        if problems:
            raise problems.pop()
        return real(url, start)

    monkeypatch.setattr(module, "_asked", asked)
    assert read(f"{server.url}/file", len(CONTENT)) == CONTENT


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.0,))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(Unavailable, match=f"^{url} can't be fetched: Connection refused$"):
            download(url, tmp_path / "file", 1, DIGEST)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["no address", "ftp//x", "http://", "http://127.0.0.1:x/"])
def test_no_address(url: str) -> None:
    with pytest.raises(Unavailable, match="can't be fetched"):
        read(url, 1)


def test_a_file_that_is_read_into_memory_is_bounded_and_whole(server: Server) -> None:
    with pytest.raises(Unavailable, match="has more than 100 bytes"):
        read(f"{server.url}/file", 100)
    server.cut_after = 10
    with pytest.raises(Unavailable, match="was cut off after 10 bytes"):
        read(f"{server.url}/file", len(CONTENT))


SCRIPT = """
import sys
from pathlib import Path
from convmixer.files.download import download
download(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
"""


def test_a_terminal_shows_a_bar_with_the_time_left(server: Server, tmp_path: Path) -> None:
    server.rate = 1_000_000
    arguments = [f"{server.url}/file", tmp_path / "file", str(len(CONTENT)), DIGEST]
    master, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=PROJECT, env=environment, stderr=terminal, check=True
    )
    shown = os.read(master, 65536).decode()
    assert "file" in shown and "/786.4 kB" in shown and "0:00:00" in shown and "left" in shown


def test_a_pipe_gets_no_control_codes(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch(server, tmp_path / "file")
    assert capfd.readouterr() == ("", "")
