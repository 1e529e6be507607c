import logging
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import PROJECT
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from convmixer.data import cache
from convmixer.data.splits import Dataset, Split, measured

SOURCE = "/data/pets"


@pytest.fixture
def pets() -> Dataset:
    images = torch.randint(0, 256, (6, 4, 4, 3), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    return measured("pets", ("cät", "dog"), Split(images[:4], labels[:4]), Split(images[4:], labels[4:]))


@pytest.fixture
def kept(pets, tmp_path) -> Path:
    """The file in which `pets` is kept, as state "one" of its source."""
    cache.save(tmp_path, "one", SOURCE, pets)
    (file,) = tmp_path.iterdir()
    return file


def test_what_is_kept_comes_back(kept, pets, tmp_path):
    again = cache.load(tmp_path, "pets", "one")
    assert kept.name == "pets-one.safetensors"
    assert (again.name, again.classes, again.mean, again.std) == (pets.name, pets.classes, pets.mean, pets.std)
    for ours, theirs in ((again.train, pets.train), (again.test, pets.test)):
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)


def test_it_is_an_ordinary_safetensors_file(kept, pets):
    tensors = load_file(kept)
    assert torch.equal(tensors["train.images"], pets.train.images)
    assert torch.equal(tensors["test.labels"], pets.test.labels)


def test_one_that_safetensors_wrote_is_read(kept, pets, tmp_path):
    """As versions before 0.2 did, with the same checksum."""
    with safe_open(kept, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(kept), kept, metadata)
    assert torch.equal(cache.load(tmp_path, "pets", "one").train.images, pets.train.images)


def test_images_stay_in_the_file_until_they_are_looked_at(kept, tmp_path):
    images = cache.load(tmp_path, "pets", "one").train.images
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("which only Linux tells")
    (line,) = (line for line in maps.read_text().splitlines() if line.endswith(kept.name))
    begin, end = (int(address, 16) for address in line.split()[0].split("-"))
    assert begin <= images.data_ptr() < end
    assert line.split()[1] == "r--s"  # read, never written, and not counted as this process's memory


def test_another_state_of_the_source_is_not_found(kept, tmp_path, caplog):
    assert cache.load(tmp_path, "pets", "two") is None
    assert not caplog.records


def flip_last_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def swap_a_class_name(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"dog", b"cow"))


DAMAGES = {
    "one bit": flip_last_byte,
    "a name": swap_a_class_name,
    "cut short": lambda file: os.truncate(file, file.stat().st_size - 10),
    "emptied": lambda file: os.truncate(file, 0),
    "overwritten": lambda file: file.write_bytes(b"x" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_named_and_not_used(kept, tmp_path, caplog, damage):
    DAMAGES[damage](kept)
    assert cache.load(tmp_path, "pets", "one") is None
    assert f"the cache {kept} is damaged and will be made again" in caplog.text


def test_on_a_system_without_posix(pets, tmp_path, monkeypatch):
    """As Windows is."""
    for name in ("pread", "pwrite", "posix_fallocate", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    labels = {"train": pets.train.labels, "test": pets.test.labels}
    about = {"name": "pets", "classes": pets.classes, "source": SOURCE}

    def decode(split, put):
        images = getattr(pets, split).images.numpy()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: put(i, images[i : i + 1]), range(len(images))))

    made = cache.decoded(tmp_path, "one", about, labels, (4, 4, 3), decode)
    for dataset in (made, cache.load(tmp_path, "pets", "one")):
        assert torch.equal(dataset.train.images, pets.train.images) and torch.equal(
            dataset.test.images, pets.test.images
        )
    assert (made.mean, made.std) == (pets.mean, pets.std)


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits as Linux has them")
def test_a_disk_that_is_too_small_is_found_before_anything_is_decoded(tmp_path):
    script = (
        "import resource, signal, sys, torch; from pathlib import Path\n"
        "from convmixer.data import cache\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "labels = dict.fromkeys(('train', 'test'), torch.zeros(1000, dtype=torch.int64))\n"
        "about = {'source': 'x', 'name': 'pets', 'classes': ['cat']}\n"
        "def decode(split, put): print('decoding', split, put.__qualname__)\n"
        "print(cache.decoded(Path('.'), 'one', about, labels, (4, 4, 3), decode))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True
    )
    assert b"no cache is kept" in ended.stderr
    assert ended.stdout.splitlines()[:2] == [b"decoding train into.<locals>.put", b"decoding test into.<locals>.put"]
    assert list(tmp_path.iterdir()) == []


def test_keeping_a_new_state_removes_the_old_one(kept, pets, tmp_path, caplog):
    caplog.set_level(logging.INFO, "convmixer")
    cache.save(tmp_path, "two", SOURCE, pets)
    assert [file.name for file in tmp_path.iterdir()] == ["pets-two.safetensors"]
    assert f"{SOURCE} has changed" in caplog.text


def test_caches_of_other_sources_and_other_files_stay(kept, pets, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"mine")
    cache.save(tmp_path, "two", "/data/other-pets", pets)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["pets-one.safetensors", "pets-two.safetensors", "weights.safetensors"]


def test_what_a_killed_process_left_is_cleared_after_an_hour(pets, tmp_path):
    old, recent = (tmp_path / f".pets-one.safetensors.{random}" for random in ("0f", "1e"))
    for leftover in (old, recent):
        leftover.touch()
    os.utime(old, (0, 0))
    cache.save(tmp_path, "one", SOURCE, pets)
    assert sorted(file.name for file in tmp_path.iterdir()) == [recent.name, "pets-one.safetensors"]


def test_a_folder_that_cannot_be_written_is_a_warning(pets, tmp_path, caplog):
    (tmp_path / "file").touch()
    cache.save(tmp_path / "file" / "cache", "one", SOURCE, pets)
    assert "no cache is kept, so the next start decodes again" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_a_warning(pets, tmp_path, caplog):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    cache.save(tmp_path, "one", SOURCE, pets)
    assert "no cache is kept" in caplog.text


def test_the_fingerprint_is_of_the_content_not_of_its_order():
    assert cache.fingerprint({"a": 1, "b": 2}) == cache.fingerprint({"b": 2, "a": 1})
    assert cache.fingerprint({"a": 1}) != cache.fingerprint({"a": 2})
    assert cache.fingerprint({"\udcff.png": 1})  # a file name that is not text
