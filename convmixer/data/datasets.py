"""Where images come from: CIFAR's official archives, any image tree, or drawn shapes.

Whatever the source, it ends as a `Dataset`: uint8 tensors in memory.
"""

import logging
import os
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from convmixer.data import cache
from convmixer.data.archives import Unavailable, fetch
from convmixer.data.images import image_folder
from convmixer.data.shapes import shapes
from convmixer.data.splits import Dataset, Split, measured, split_validation
from convmixer.errors import UserError

__all__ = ["Dataset", "Split", "auto", "cifar", "image_folder", "shapes", "split_validation"]

CifarName = Literal["cifar10", "cifar100"]

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
# Named here and not taken from torchvision, whose import takes seconds that a start from the cache need not spend.
ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
EXTRACTED = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}

log = logging.getLogger("convmixer")


def cifar(name: CifarName, folder: Path) -> Dataset:
    """CIFAR-10 or CIFAR-100 as published: from `folder`, extracted or as the archive, else downloaded to it.

    Every file is checked against the published MD5 sums before it is used. A decoded cache is kept in `folder`.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Raises:
        UserError: it is not there and cannot be downloaded.
    """
    try:
        return _official(name, folder)
    except Unavailable as why:
        raise _cannot_be_had(name, folder, why) from why


def auto(folder: Path, *, may_fall_back: bool) -> Dataset:
    """CIFAR-10; if it cannot be had, `shapes` with a banner in `fallback` that says so.

    Raises:
        UserError: CIFAR-10 cannot be had and `may_fall_back` is false.
    """
    try:
        return _official("cifar10", folder)
    except Unavailable as why:
        if not may_fall_back:
            raise _cannot_be_had("cifar10", folder, why) from why
        return replace(shapes(), fallback=_banner(folder, why))


def _official(name: CifarName, folder: Path) -> Dataset:
    folder = Path(os.path.abspath(folder.expanduser()))
    try:
        dataset = cache.load(folder, name, _fingerprint(name, folder))
        if dataset is None:
            dataset = _from_published_files(name, folder)
            # The fingerprint is taken anew: fetching changes what is there.
            cache.save(folder, _fingerprint(name, folder), str(folder / name), dataset)
        return dataset
    except OSError as problem:  # a file that may not be read, no room to unpack
        raise Unavailable(str(problem)) from problem


def _fingerprint(name: CifarName, folder: Path) -> str:
    files = [folder / ARCHIVES[name], *sorted((folder / EXTRACTED[name]).glob("*"))]
    status = {str(f.relative_to(folder)): f.stat() for f in files if f.is_file()}
    return cache.fingerprint({f: (s.st_size, s.st_mtime_ns) for f, s in status.items()})


def _from_published_files(name: CifarName, folder: Path) -> Dataset:
    from torchvision import datasets
    from torchvision.datasets.utils import extract_archive

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    extracted, archive = folder / EXTRACTED[name], folder / ARCHIVES[name]
    if extracted.is_dir():
        try:
            return _read(name, source, folder)
        except RuntimeError:  # what torchvision's check of the MD5 sums raises
            log.warning("%s is damaged or incomplete: not used; taking %s instead", extracted, archive)
    fetch(source.url, archive, source.tgz_md5)
    with tempfile.TemporaryDirectory() as scratch:
        extract_archive(str(archive), scratch)
        return _read(name, source, Path(scratch))


def _read(name: CifarName, source: type, root: Path) -> Dataset:
    """Through torchvision, which checks the MD5 sum of each file again."""
    train, test = source(root, train=True), source(root, train=False)
    splits = [Split(torch.from_numpy(s.data).contiguous(), torch.tensor(s.targets)) for s in (train, test)]
    return measured(name, tuple(train.classes), *splits)


def _cannot_be_had(name: CifarName, folder: Path, why: Unavailable) -> UserError:
    remedies = ", or ".join(_remedies(name, folder))
    return UserError(f"{TITLES[name]} cannot be had: {why}; {remedies}")


def _banner(folder: Path, why: Unavailable) -> str:
    lines = [
        "CIFAR-10 CANNOT BE HAD; THIS RUN TRAINS ON `shapes` INSTEAD.",
        f"Why: {why}.",
        "`shapes` are drawn pictures, far easier than photographs: this accuracy says nothing about CIFAR-10.",
        "For real images:",
    ]
    give, own, _ = _remedies("cifar10", folder)
    return "\n".join([*lines, f"  - {give}", f"  - {own}"])


def _remedies(name: CifarName, folder: Path) -> tuple[str, str, str]:
    return (
        f"put the official archive at {folder / ARCHIVES[name]}",
        "train on images of your own with data.dataset=images data.path=DIR",
        "on drawn ones with data.dataset=shapes",
    )


def dataset_of_auto(names: Collection[str]) -> str:
    """The data set that `auto` came to in a training.

    Args:
        names: the name of that data set, alone or among others.
    """
    return "shapes" if "shapes" in names else "cifar10"
