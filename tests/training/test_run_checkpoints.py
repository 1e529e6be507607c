"""Which checkpoints a run keeps, and which of them it goes on from."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convmixer.errors import UserError
from convmixer.training import checkpoints
from convmixer.training.run_checkpoints import RunCheckpoints

EPOCH = 5  # updates


def state(step: int) -> dict:
    return {"step": step, "model": {"weight": torch.full((3,), float(step))}}


def keep(folder: Path, minutes: float | None = None, restored: dict | None = None) -> RunCheckpoints:
    return RunCheckpoints(folder, EPOCH, minutes, restored)


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])


def test_it_goes_on_from_the_last_one(tmp_path: Path) -> None:
    assert checkpoints.newest_good(tmp_path) == (None, None)
    kept = keep(tmp_path)
    kept.save_last(state(5))
    kept.save_last(state(7))
    found, note = checkpoints.newest_good(tmp_path)
    assert found["step"] == 7 and note is None


def test_a_damaged_last_one_gives_way_to_the_one_before_it_and_that_is_said(tmp_path: Path) -> None:
    kept = keep(tmp_path)
    kept.save_last(state(5))
    kept.save_last(state(7))
    damage(kept.last)
    found, note = checkpoints.newest_good(tmp_path)
    assert found["step"] == 5
    assert note.endswith("is damaged (its SHA-256 does not match): resuming from previous.pt, of update 5")
    assert checkpoints.load(kept.last)["step"] == 5  # which is the last one now

    keep(tmp_path, restored=found).save_last(state(6))
    assert checkpoints.load(kept.previous)["step"] == 5


def test_where_none_is_good_nothing_is_touched(tmp_path: Path) -> None:
    kept = keep(tmp_path)
    kept.save_last(state(5))
    kept.save_last(state(7))
    damage(kept.last)
    damage(kept.previous)
    before = [path.read_bytes() for path in (kept.last, kept.previous)]
    with pytest.raises(
        UserError, match=r"all checkpoints of this run are damaged: .*last\.pt.*previous\.pt.*nothing was"
    ):
        checkpoints.newest_good(tmp_path)
    assert [path.read_bytes() for path in (kept.last, kept.previous)] == before


def test_one_of_another_version_is_refused_and_not_passed_over(tmp_path: Path, monkeypatch) -> None:
    kept = keep(tmp_path)
    kept.save_last(state(5))
    monkeypatch.setattr(checkpoints, "FORMAT", 99)
    kept.save_last(state(7))
    monkeypatch.undo()
    with pytest.raises(UserError, match="checkpoint has format 99"):
        checkpoints.newest_good(tmp_path)


@settings(max_examples=30)
@given(steps=st.sets(st.integers(1, 30), min_size=1), restarts=st.sets(st.integers(1, 30)))
def test_whenever_it_was_saved_the_newest_end_of_an_epoch_is_kept(steps, restarts, tmp_path_factory) -> None:
    """Saved at the end of each epoch and at any `steps` within them, with processes that end and go on in between."""
    folder = tmp_path_factory.mktemp("run")
    kept = keep(folder)
    for step in range(1, 31):
        if step % EPOCH == 0 or step in steps:
            kept.save_last(state(step))
            assert checkpoints.newest_good(folder)[0]["step"] == step
        found = kept.newest_of_an_epoch_end()
        assert (found["step"] if found else 0) == step // EPOCH * EPOCH
        if step in restarts:
            kept = keep(folder, restored=checkpoints.newest_good(folder)[0])


def test_one_is_due_after_some_minutes(tmp_path: Path, monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    kept, never = keep(tmp_path, minutes=2), keep(tmp_path)
    now += 119
    assert not kept.is_due()
    now += 1
    assert kept.is_due() and not never.is_due()
    kept.save_last(state(3))
    assert not kept.is_due()


def test_a_best_one_of_updates_that_are_made_anew_is_not_the_best(tmp_path: Path) -> None:
    kept = keep(tmp_path)
    assert not kept.has_best_of(state(5))
    checkpoints.save(kept.best, state(10))
    assert kept.has_best_of(state(10)) and not kept.has_best_of(state(5))
    damage(kept.best)
    assert not kept.has_best_of(state(10))


def test_a_file_system_without_links_keeps_the_one_before_as_well(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    kept = keep(tmp_path)
    kept.save_last(state(5))
    kept.save_last(state(7))
    assert [checkpoints.load(path)["step"] for path in (kept.last, kept.previous)] == [7, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".last.pt.123").write_bytes(b"half")
    keep(tmp_path)
    assert not list(tmp_path.iterdir())
