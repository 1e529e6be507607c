"""A log that a power cut left too short: the run goes back to a checkpoint that it reaches, or the loss is said."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import assert_same_result

from convmixer.tracking.recorder import Recorder, sound_bytes
from convmixer.tracking.run_folder import LOG
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints

EPOCH = 210  # images


@pytest.fixture(scope="module")
def unbroken(one_run: Path) -> Run:
    """A run of three epochs that has ended."""
    return Run(next(one_run.glob("logs/tiny-*/*/summary.json")).parent)


@pytest.fixture
def unended(unbroken: Run, here: Path) -> Run:
    """That run as it was when its last checkpoint had been saved."""
    folder = here / "logs" / "tiny-small" / unbroken.uuid
    shutil.copytree(unbroken.folder, folder)
    (folder / "summary.json").unlink()
    return Run(folder)


def lines_up_to(log: bytes, images: int) -> bytes:
    lines = log.splitlines(keepends=True)
    return b"".join(line for line in lines if max(p[0][0] for p in json.loads(line)["track"].values()) <= images)


DAMAGES = {
    "cut in a line": lambda log: log[: len(lines_up_to(log, 2 * EPOCH)) + 30],
    "its end zeroed": lambda log: lines_up_to(log, 2 * EPOCH).ljust(len(log), b"\0"),
    "a line of the last epoch zeroed": lambda log: log[:-300] + b"\0" * 200 + log[-100:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_goes_back_to_a_checkpoint_that_the_log_reaches(
    damage: str, unended: Run, unbroken: Run, command: Callable
) -> None:
    log = unended.folder / LOG
    log.write_bytes(DAMAGES[damage](log.read_bytes()))
    said = command("resume", unended.uuid).stdout
    assert f"{LOG} is damaged" in said and "going back to update 14, up to which it is whole" in said
    assert_same_result(unended, unbroken)


@pytest.mark.parametrize("damage", [lambda log: log[: len(log) // 4], lambda log: b"\0" * len(log), None])
def test_where_no_checkpoint_is_reached_the_loss_is_said(
    damage: Callable | None, unended: Run, unbroken: Run, command: Callable
) -> None:
    log = unended.folder / LOG
    whole = log.read_bytes()
    log.write_bytes(damage(whole)) if damage else log.unlink()
    kept = sound_bytes(log, len(whole))
    said = command("resume", unended.uuid).stdout
    assert f"{kept:,} of {len(whole):,} bytes recorded up to update 21 are whole: the rest is lost" in said
    assert unended.summary["accuracy.test"] == unbroken.summary["accuracy.test"]


def test_a_whole_log_is_not_spoken_of(unended: Run, unbroken: Run, command: Callable) -> None:
    with open(unended.folder / LOG, "ab") as log:
        log.write(b'{"track": {"loss.train": [[9')  # cut after the checkpoint was saved
    assert "damaged" not in command("resume", unended.uuid).stdout
    assert_same_result(unended, unbroken)


def test_the_log_is_on_the_disk_before_a_checkpoint_or_a_summary_is(tmp_path: Path, monkeypatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    recorder = Recorder(tmp_path, quiet=True)
    (tmp_path / LOG).write_bytes(b"12345")
    state = {"log_bytes": recorder.sync()}
    checkpoints.save(tmp_path / "last.pt", state)
    assert state["log_bytes"] == 5
    assert synced[:2] == [str(tmp_path / LOG), str(tmp_path)] and "last.pt" in synced[2]
    synced.clear()
    recorder.summary({})
    assert synced[0] == str(tmp_path / LOG) and "summary.json" in synced[-1]
