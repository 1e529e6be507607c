"""CIFAR through a real server on this machine that serves an archive in the official format, ten pixels small."""

import hashlib
import http.server
import io
import logging
import os
import pickle
import pty
import socket
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from convmixer.data import archives
from convmixer.data.datasets import auto, cifar
from convmixer.errors import UserError

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
CLASSES = ["airplane", "automobile"]


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def batch(n: int, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return pickle.dumps({"data": pixels, "labels": [i % 2 for i in range(n)]})


FILES = {
    "data_batch_1": batch(6, 1),
    "data_batch_2": batch(4, 2),
    "test_batch": batch(2, 3),
    "batches.meta": pickle.dumps({"label_names": CLASSES}),
}


def packed() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in FILES.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


GOOD = packed()


@dataclass
class Server:
    """What the server answers with, and how often it was asked."""

    body: bytes = GOOD
    declared: int | None = None
    status: int = 200
    delay: float = 0.0
    stall: float = 0.0
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch):
    """torchvision's CIFAR10 as published by a server here; its files' MD5 sums are those of `FILES`."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.path)
            time.sleep(state.delay)
            self.send_response(state.status)
            self.send_header("Content-Length", str(state.declared or len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)
            self.wfile.flush()
            time.sleep(state.stall)

        def log_message(self, *_):
            pass

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http_server.serve_forever, daemon=True).start()
    publish(monkeypatch, http_server.server_port)
    yield state
    http_server.shutdown()
    http_server.server_close()


def publish(monkeypatch, port: int) -> None:
    listed = {name: [name, md5(data)] for name, data in FILES.items()}
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(FILES["batches.meta"])}
    monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{port}/{ARCHIVE}")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(GOOD))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [listed["data_batch_1"], listed["data_batch_2"]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [listed["test_batch"]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def offline(monkeypatch):
    """Nobody listens at the address CIFAR-10 is published at."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        publish(monkeypatch, unused.getsockname()[1])
        yield


def unpack(folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(GOOD)) as tar:
        tar.extractall(folder)


def is_ours(dataset) -> bool:
    pixels = np.vstack([pickle.loads(FILES[f])["data"] for f in ("data_batch_1", "data_batch_2")])
    expected = torch.from_numpy(pixels).view(10, 3, 32, 32).permute(0, 2, 3, 1)
    return torch.equal(dataset.train.images, expected)


def test_cifar_is_downloaded(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "convmixer")
    cifar10 = cifar("cifar10", tmp_path / "data")
    assert is_ours(cifar10)
    assert (cifar10.name, cifar10.classes, cifar10.fallback) == ("cifar10", tuple(CLASSES), None)
    assert cifar10.train.images.is_contiguous() and cifar10.train.images.dtype == torch.uint8
    assert cifar10.train.labels.tolist() == [0, 1] * 5 and cifar10.test.labels.tolist() == [0, 1]
    assert [record.message for record in caplog.records] == [f"downloading {datasets.CIFAR10.url}"]


def test_a_download_on_a_terminal_shows_its_progress(server, tmp_path):
    script = (
        "import sys; from pathlib import Path; from convmixer.data.archives import fetch;"
        "fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
    )
    arguments = [datasets.CIFAR10.url, tmp_path / ARCHIVE, md5(GOOD)]
    master, terminal = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TERM": "xterm"},
        stderr=terminal,
        check=True,
    )
    shown = os.read(master, 65536).decode()
    assert ARCHIVE in shown and "100%" in shown and "\x1b[" in shown


def test_a_piped_download_writes_no_control_codes(server, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("convmixer"), "handlers", [])  # another test's command may have left its own
    cifar("cifar10", tmp_path)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_the_second_start_neither_downloads_nor_decodes(server, tmp_path, caplog):
    cifar("cifar10", tmp_path)
    caplog.clear()
    assert is_ours(cifar("cifar10", tmp_path))
    assert len(server.asked) == 1 and not caplog.records


def test_a_start_from_the_cache_does_without_torchvision(server, tmp_path):
    cifar("cifar10", tmp_path)
    script = (
        "import sys; from pathlib import Path; from convmixer.data.datasets import cifar;"
        "print(cifar('cifar10', Path(sys.argv[1])).name, 'torchvision' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "cifar10 False\n"


def test_the_archive_on_disk_is_enough(offline, tmp_path):
    (tmp_path / ARCHIVE).write_bytes(GOOD)
    assert is_ours(cifar("cifar10", tmp_path))


def test_the_extracted_folder_is_enough(offline, tmp_path):
    unpack(tmp_path)
    assert is_ours(cifar("cifar10", tmp_path))


def test_a_damaged_folder_is_not_used(server, tmp_path, caplog):
    unpack(tmp_path)
    (tmp_path / FOLDER / "data_batch_2").write_bytes(batch(4, seed=99))
    assert is_ours(cifar("cifar10", tmp_path))
    assert f"{tmp_path / FOLDER} is damaged or incomplete: not used" in caplog.text


def test_a_damaged_archive_is_named_and_fetched_again(server, tmp_path, caplog):
    (tmp_path / ARCHIVE).write_bytes(GOOD[:-9])
    assert is_ours(cifar("cifar10", tmp_path))
    assert f"{tmp_path / ARCHIVE} is damaged: its MD5 is {md5(GOOD[:-9])}, expected {md5(GOOD)}" in caplog.text
    assert (tmp_path / ARCHIVE).read_bytes() == GOOD


def test_a_damaged_archive_offline_is_an_error_with_the_remedies(offline, tmp_path):
    (tmp_path / ARCHIVE).write_bytes(b"half an archive")
    with pytest.raises(UserError) as error:
        cifar("cifar10", tmp_path)
    for part in (
        f"{tmp_path / ARCHIVE} is damaged: its MD5 is {md5(b'half an archive')}, expected {md5(GOOD)}",
        "cannot be fetched",
        "Connection refused",
        f"put the official archive at {tmp_path / ARCHIVE}",
        "data.dataset=images data.path=DIR",
        "data.dataset=shapes",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"body": b"<html>log in to this network</html>"}, "sent is damaged: its MD5 is"),
        ({"body": GOOD[:500], "declared": len(GOOD)}, "sent is damaged: its MD5 is"),
        ({"status": 404}, "cannot be fetched: Not Found"),
    ],
)
def test_a_bad_answer_is_never_kept(server, tmp_path, answer, message):
    vars(server).update(answer)
    with pytest.raises(UserError, match=message):
        cifar("cifar10", tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".lock"] == []


def test_a_server_that_hangs_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "PATIENCE", 0.5)
    server.delay = 3
    start = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*(did not answer within 0\.5 seconds|timed out)"):
        cifar("cifar10", tmp_path)
    assert time.monotonic() - start < 2


def test_a_name_lookup_that_hangs_is_given_up(server, tmp_path, monkeypatch):
    """urlopen's own time-out does not cover it."""
    monkeypatch.setattr(archives, "PATIENCE", 0.5)

    def hang(*_, **__):
        time.sleep(2.5)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1 did not answer within 0\.5 seconds"):
        cifar("cifar10", tmp_path)
    assert time.monotonic() - start < 2


@pytest.mark.slow
def test_a_black_hole_is_found_out_within_ten_seconds(server, tmp_path):
    server.delay = 12
    start = time.monotonic()
    assert auto(tmp_path, may_fall_back=True).name == "shapes"
    assert time.monotonic() - start < 10


def test_a_download_that_stalls_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "STALL", 0.5)
    server.body, server.declared, server.stall = GOOD[:500], len(GOOD), 2
    with pytest.raises(UserError, match="failed: timed out"):
        cifar("cifar10", tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"CIFAR-10 cannot be had: fetching .* failed: .*file"):
        cifar("cifar10", tmp_path / "file" / "data")


def test_starts_at_the_same_time_wait_for_one_download(server, tmp_path):
    server.delay = 0.2
    results = []
    threads = [threading.Thread(target=lambda: results.append(is_ours(cifar("cifar10", tmp_path)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    assert not list(tmp_path.glob(".*"))


def test_cifar100_takes_its_fine_labels(tmp_path, monkeypatch):
    train = pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "fine_labels": [2, 0, 1], "coarse_labels": [0] * 3})
    meta = pickle.dumps({"fine_label_names": ["apple", "bear", "cup"]})
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, data in (("train", train), ("test", train), ("meta", meta)):
        (folder / name).write_bytes(data)
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", md5(train)]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", md5(train)]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": md5(meta)})
    cifar100 = cifar("cifar100", tmp_path)
    assert cifar100.classes == ("apple", "bear", "cup")
    assert cifar100.train.labels.tolist() == [2, 0, 1]


def test_auto_is_cifar10_where_it_can_be_had(server, tmp_path):
    dataset = auto(tmp_path, may_fall_back=True)
    assert is_ours(dataset) and dataset.name == "cifar10" and dataset.fallback is None


def test_auto_falls_back_to_shapes_and_says_so(offline, tmp_path):
    dataset = auto(tmp_path, may_fall_back=True)
    assert dataset.name == "shapes" and len(dataset.train.labels) == 10_000
    for part in ("CIFAR-10", "Connection refused", "`shapes`", str(tmp_path / ARCHIVE), "data.dataset=images"):
        assert part in dataset.fallback


def test_auto_that_may_not_fall_back_is_an_error_with_the_remedies(offline, tmp_path):
    with pytest.raises(
        UserError, match=r"CIFAR-10 cannot be had: .*put the official archive at .*data\.dataset=shapes"
    ):
        auto(tmp_path, may_fall_back=False)
