"""CIFAR in every form that it is passed on in, made from its records; the published ones are unpacked once."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from convmixer.data.cifar_published import CIFAR10, Batch, Published

OFFICIAL = Path(__file__).resolve().parents[2] / "shared" / "cifar10" / "official"
FOLDER = "cifar-10-batches-bin"

Records = dict[str, NDArray[np.uint8]]  # of each batch, `[n, 1 + 3072]`


def unpacked() -> Path:
    """The folder of the published binary version, unpacked at the first call on this machine."""
    kept = Path(tempfile.gettempdir()) / f"convmixer-tests-{os.getuid()}" / FOLDER
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    with FileLock(kept.parent / "lock"):
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
                subprocess.run([sys.executable, OFFICIAL / "unpack.py", scratch], check=True, capture_output=True)
                (Path(scratch) / FOLDER).rename(kept)
    return kept


def records_of(folder: Path, published: Published = CIFAR10) -> Records:
    """The records in a folder of the binary version."""
    return {
        batch.name: np.fromfile(folder / f"{batch.name}.bin", np.uint8).reshape(-1, 3073) for batch in published.batches
    }


def drawn(n: int = 4) -> Records:
    """A small data set of random images, `n` in each batch."""
    random = np.random.default_rng(0)
    records = {batch.name: random.integers(0, 256, (n, 3073), np.uint8) for batch in CIFAR10.batches}
    for batch in records.values():
        batch[:, 0] %= 10
    return records


def as_published(records: Records) -> Published:
    """CIFAR-10, had these records been published."""

    def batches(published: tuple[Batch, ...]) -> tuple[Batch, ...]:
        return tuple(
            Batch(b.name, len(records[b.name]), hashlib.sha256(records[b.name]).hexdigest()) for b in published
        )

    md5 = {name: hashlib.md5(content).hexdigest() for name, content in python_files(records).items()}
    return replace(CIFAR10, train=batches(CIFAR10.train), test=batches(CIFAR10.test), python_md5=md5)


def python_files(records: Records) -> dict[str, bytes]:
    return {name: pickle.dumps({"data": r[:, 1:].copy(), "labels": r[:, 0].tolist()}) for name, r in records.items()}


def binary_files(records: Records) -> dict[str, bytes]:
    return {f"{name}.bin": r.tobytes() for name, r in records.items()}


def npm_files(records: Records) -> dict[str, bytes]:
    files = {f"{name}.png": _png(r) for name, r in records.items()}
    train = [label for batch in CIFAR10.train for label in records[batch.name][:, 0].tolist()]
    labels = {"train": train, "test": records["test_batch"][:, 0].tolist()}
    return files | {f"{split}_lables.json": json.dumps(some).encode() for split, some in labels.items()}


def _png(records: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    pixels = records[:, 1:].reshape(-1, 3, 1024).transpose(0, 2, 1)
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


FILES = {"python": python_files, "binary": binary_files, "npm": npm_files}


def packed(version: str, records: Records) -> bytes:
    """The archive of a version."""
    return tar_gz(CIFAR10.folders.get(version, "package"), FILES[version](records))


def tar_gz(top: str, files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_folder(version: str, records: Records, folder: Path) -> None:
    """The extracted version, in its own folder in `folder`."""
    place = folder / CIFAR10.folders[version]
    place.mkdir(parents=True)
    for name, content in FILES[version](records).items():
        (place / name).write_bytes(content)


def write_tree(folder: Path, tree: Path, train: int = 0, test: int = 0) -> Path:
    """An image tree of the first images of each class of the binary version in `folder`: so many in each split."""
    records = records_of(folder)
    parts = {
        "train": ([records[batch.name] for batch in CIFAR10.train], train),
        "test": ([records["test_batch"]], test),
    }
    for split, (batches, n) in parts.items():
        whole = np.concatenate(batches)
        for label, name in enumerate(CIFAR10.classes):
            (tree / split / name).mkdir(parents=True)
            for i, record in enumerate(whole[whole[:, 0] == label][:n]):
                pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                Image.fromarray(pixels).save(tree / split / name / f"{i:04}.png", compress_level=1)
    return tree
