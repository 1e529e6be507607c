"""Runs whose uuid is known before they begin: found again after a kill, and trained from where they are."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from convmixer.errors import UserError
from convmixer.tracking.runs import Run


def find_run(uuid: str, logs: Path) -> Run | None:
    """The run of that uuid, where its folder is there."""
    folder = next(logs.glob(f"*/{uuid}"), None)
    return Run(folder) if folder else None


def begin_or_resume(run: Run | None, uuid: str, train: Sequence[str]) -> list[str]:
    """The words of the command that trains a run to its end.

    What was killed before its first checkpoint holds nothing to go on from: its folder is removed.

    Args:
        train: the words that begin it.

    Raises:
        UserError: another process is training it.
    """
    if run is not None and run.is_running():
        raise UserError(f"{uuid}: another process is training this run")
    if run is not None and run.checkpoint("last").exists():
        return ["resume", uuid]
    if run is not None:
        shutil.rmtree(run.folder)
    return list(train)
