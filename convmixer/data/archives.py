"""Fetching a published archive: whole and verified, or not at all."""

import hashlib
import logging
from concurrent.futures import Future
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import IO
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from convmixer.console import Console
from convmixer.files.atomic import clear_leftovers, written_whole

PATIENCE = 6.0  # seconds for a server to begin its answer
STALL = 30.0  # seconds for each further piece of it
PIECE = 2**18  # bytes

log = logging.getLogger("convmixer")


class Unavailable(Exception):
    """An archive cannot be had; the text says why."""


def fetch(url: str, path: Path, md5: str) -> None:
    """Have the archive of that MD5 sum at `path`: what is there if it is sound, else downloaded.

    Processes that fetch the same archive at once wait for the first of them. Proxies are taken from the environment.

    Raises:
        Unavailable: there is no network, the server lacks the file or sends a damaged one, or `path` can't be written.
    """
    damage = _damage(path, md5) if path.exists() else None
    if path.exists() and damage is None:
        return
    if damage is not None:
        log.warning("%s: it is not used, but fetched again", damage)
    try:
        _download(url, path, md5)
    except Unavailable as problem:
        raise Unavailable(f"{damage}; {problem}" if damage else str(problem)) from problem


def _damage(path: Path, md5: str) -> str | None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return None if found == md5 else f"{path} is damaged: its MD5 is {found}, expected {md5}"


def _download(url: str, path: Path, md5: str) -> None:
    # Connecting comes before waiting for the lock, so that being offline is found out at once by all.
    with _open(url) as response:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.exists() or _damage(path, md5):
                    _receive(response, url, path, md5)
        except (OSError, HTTPException) as problem:
            raise Unavailable(f"fetching {url} to {path} failed: {problem}") from problem


def _open(url: str) -> HTTPResponse:
    """The answer to a request for `url`, or Unavailable, within `PATIENCE`.

    In a thread, as urlopen's own time-out leaves out the look-up of names and starts anew for every address.
    """
    answer: Future[HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urlopen(url, timeout=STALL))
        except Exception as problem:  # raised again below, where it is waited for
            answer.set_exception(problem)

    Thread(target=ask, daemon=True).start()
    host = urlsplit(url).hostname
    try:
        return answer.result(PATIENCE)
    except TimeoutError as problem:
        raise Unavailable(f"{host} did not answer within {PATIENCE:g} seconds") from problem
    except (OSError, HTTPException) as problem:
        why = getattr(problem, "reason", problem)  # without urllib's wrapping
        raise Unavailable(f"{url} cannot be fetched: {why}") from problem


def _receive(response: HTTPResponse, url: str, path: Path, md5: str) -> None:
    """Bring the body to `path`: under another name until it is verified. The lock of `path` is held."""
    log.info("downloading %s", url)
    clear_leftovers(path)
    with written_whole(path, "wb") as file:
        found = _write(response, file, path.name)
        if found != md5:
            raise Unavailable(f"what {url} sent is damaged: its MD5 is {found}, expected {md5}")


def _write(response: HTTPResponse, file: IO[bytes], title: str) -> str:
    """Write the body to `file`, with a progress bar where there is a terminal; its MD5 sum."""
    digest = hashlib.md5(usedforsecurity=False)
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(title, total=response.length)
        while piece := response.read(PIECE):
            file.write(piece)
            digest.update(piece)
            bar.advance(task, len(piece))
    return digest.hexdigest()
