"""The download of CIFAR-10 from servers with every kind of trouble."""

import logging
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
from cifar_sources import ARCHIVES, NAMES, NPM_PATH, check, files_in
from servers import Server

from convmixer.data import cifar as module
from convmixer.data.cifar import cifar
from convmixer.data.cifar_published import Published
from convmixer.data.datasets import auto
from convmixer.errors import UserError
from convmixer.files import download


def test_a_download_is_removed_once_there_is_a_cache(server: Server, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "convmixer")
    (tmp_path / f"{NAMES['npm']}.part").write_bytes(b"of a source that was given up earlier")
    check(cifar("cifar10", tmp_path))
    assert files_in(tmp_path) == set()
    said = [record.message for record in caplog.records]
    assert said[0] == f"CIFAR-10 is not in {tmp_path} yet: it is downloaded, only this once"
    assert re.fullmatch(r"this takes up to \d+ MB of disk, and \d+ MB once it is decoded", said[1])
    assert "from 127.0.0.1" in said[2] and said[3].startswith("checking and decoding ")
    caplog.clear()
    check(cifar("cifar10", tmp_path))
    assert len(server.asked) == 1 and not caplog.records


def test_a_download_stays_where_no_cache_can_be_kept(server: Server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module.cache, "save", lambda *_: False)
    check(cifar("cifar10", tmp_path))
    check(cifar("cifar10", tmp_path))
    assert len(server.asked) == 1


def damage(server: Server, how: str) -> None:
    content = server.files[f"/{NAMES['python']}"]
    answers = {
        "refuses": {"status": 503},
        "has lost it": {"files": {}},
        "sends a log-in page": {"files": {f"/{NAMES['python']}": b"<html>log in to this network</html>"}},
        "sends other bytes": {"files": {f"/{NAMES['python']}": content[:-9] + b"nonsense!"}},
        "does not answer": {"delay": 60},
        "stalls": {"cut_after": 1000, "stall": 60},
        "breaks off": {"cut_after": 1000},
        "is slow": {"rate": 2000},
    }
    vars(server).update(answers[how])


TROUBLES = {
    "refuses": "Service Unavailable",
    "has lost it": "Not Found",
    "sends a log-in page": "sends another file: 35 bytes",
    "sends other bytes": "sends a damaged file",
    "does not answer": "did not answer within 0.5 seconds|timed out",
    "stalls": "stopped sending for 0.5 seconds",
    "breaks off": "was cut off after 1,000 of",
    "is slow": "sends only",
}


@pytest.mark.parametrize(("how", "says"), TROUBLES.items())
def test_a_server_is_left_for_the_registry_if_it(
    how: str, says: str, server: Server, registry: Server, tmp_path: Path, caplog, monkeypatch
) -> None:
    """Within seconds, and said in one line."""
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    caplog.set_level(logging.INFO, "convmixer")
    damage(server, how)
    start = time.monotonic()
    check(cifar("cifar10", tmp_path))
    assert time.monotonic() - start < 15
    _, _, _, line, _, _ = [record.message for record in caplog.records]
    assert "127.0.0.1" in line and "\n" not in line
    assert any(part in line for part in says.split("|"))
    assert len(registry.asked) == 1
    assert files_in(tmp_path) == set()


def test_a_slow_server_sends_it_where_no_other_does(server: Server, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    caplog.set_level(logging.INFO, "convmixer")
    server.rate = 80_000
    check(cifar("cifar10", tmp_path))
    first, second = server.asked
    assert first[1] == 0 < second[1] and "resuming at" in caplog.text


def test_a_start_after_a_kill_resumes(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAMES['python']}.part").write_bytes(ARCHIVES["python"][:5000])
    check(cifar("cifar10", tmp_path))
    assert server.asked == [(f"/{NAMES['python']}", 5000)]


def test_a_disk_that_is_too_small_is_found_before_the_download(server: Server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(UserError, match=r"has 0 MB of disk free, \d+ MB are needed"):
        cifar("cifar10", tmp_path)
    assert not server.asked


def test_starts_at_the_same_time_make_one_download(server: Server, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "convmixer")
    server.delay = 0.3
    problems = []

    def begin() -> None:
        try:
            check(cifar("cifar10", tmp_path))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(server.asked) == 1
    assert f"another process downloads CIFAR-10 to {tmp_path}: waiting for it" in caplog.text


def test_a_folder_that_cannot_be_written_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"CIFAR-10 is not available: .*file"):
        cifar("cifar10", tmp_path / "file" / "data")


def test_no_source_at_all_is_one_line_with_the_remedies(published: Published, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        cifar("cifar10", tmp_path)
    for part in (
        "CIFAR-10 is not available: ",
        f"{NAMES['python']} can't be fetched: Connection refused",
        f"{NPM_PATH} can't be fetched: Connection refused",
        f"put {NAMES['python']} or {NAMES['binary']} or {NAMES['npm']} into {tmp_path}",
        "data.dataset=images data.path=DIR",
        "data.dataset=shapes",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_black_hole_is_found_out_within_twenty_seconds(server: Server, registry: Server, tmp_path: Path) -> None:
    server.delay = registry.delay = 30
    start = time.monotonic()
    assert auto(tmp_path, may_fall_back=True).name == "shapes"
    assert time.monotonic() - start < 20
