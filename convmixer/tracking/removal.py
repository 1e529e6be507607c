"""Removes runs, or the checkpoints that a run no longer needs. A run that trains now is never touched."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from convmixer.errors import UserError
from convmixer.tracking.recorded_run import Run
from convmixer.tracking.run_folder import CHECKPOINTS, CONFIGS, INFO, LOCK, SUMMARY

KEPT_TO_THE_END = (SUMMARY, CONFIGS, INFO)  # with these a run that is half removed is still listed, as ended


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links count as nothing."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def remove(run: Run) -> None:
    """Remove a run's folder, and the folder of its name if that is empty then.

    Raises:
        UserError: the run is being trained, or its folder can't be removed.
    """
    with _untrained(run):
        entries = sorted(run.folder.iterdir(), key=_order)
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()
    with _named(run):
        (run.folder / LOCK).unlink(missing_ok=True)
        run.folder.rmdir()
        if not any(run.folder.parent.iterdir()):
            run.folder.parent.rmdir()


def _order(entry: Path) -> int:
    return KEPT_TO_THE_END.index(entry.name) + 1 if entry.name in KEPT_TO_THE_END else 0


def spare_checkpoints(run: Run, also_tested: bool = False) -> list[Path]:
    """Return the checkpoints that a run no longer needs: none if it has not ended, as it may be resumed.

    Args:
        also_tested: also the weights that were tested, without which it can't be evaluated, predicted with or exported.
    """
    tested = run.summary.get("weights")
    if not run.summary or not (run.folder / CHECKPOINTS).is_dir():
        return []
    files = sorted((run.folder / CHECKPOINTS).iterdir())
    needed = {run.checkpoint(name) for name in ([tested] if tested else ["best", "last"])}
    return [file for file in files if file.is_file() and (also_tested or file not in needed)]


def prune(run: Run, files: list[Path]) -> None:
    """Remove these checkpoints of a run that has ended.

    Raises:
        UserError: the run is being trained, or a file can't be removed.
    """
    with _untrained(run):
        for file in files:
            file.unlink(missing_ok=True)


@contextmanager
def _untrained(run: Run) -> Iterator[None]:
    """Keep the run from being resumed meanwhile.

    Raises:
        UserError: it is being trained.
    """
    with _named(run):
        if run.folder.is_symlink():
            raise UserError(f"{run.folder} is a link: remove it by hand")
        lock = FileLock(run.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"run {run.uuid[:8]} trains now: it is left as it is") from None
        try:
            yield
        finally:
            lock.release()


@contextmanager
def _named(run: Run) -> Iterator[None]:
    """Turn a file that can't be removed into an error of one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{error.filename or run.folder}: can't be removed: {reason}") from None
