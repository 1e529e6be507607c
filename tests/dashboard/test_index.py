"""The dashboard's index: what takes long to read of a run is read once, and again only where it has changed."""

import asyncio
from pathlib import Path

import pytest
import yaml
from run_folders import make_run

from convmixer.dashboard.followed_run import FollowedRun
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.storage import Store

CHANGED = yaml.safe_dump({"epochs": {"value": 12345, "computed": 12345, "is_explicitly_specified": True}})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose configs were asked for."""
    asked: list[str] = []
    read = FollowedRun.read_configs

    def noted(run: FollowedRun) -> None:
        asked.append(run.uuid)
        read(run)

    monkeypatch.setattr(FollowedRun, "read_configs", noted)
    return asked


def look(follower: Follower) -> None:
    """One round of what the dashboard does every second."""
    follower.look()
    asyncio.run(follower._read_configs())


def test_nothing_is_read_of_runs_that_do_not_change(tmp_path: Path, reads: list[str]) -> None:
    for uuid in ("a1", "b2"):
        make_run(tmp_path / "logs", uuid, valid=0.5)
    store = Store(tmp_path / "index.sqlite")
    follower = Follower(tmp_path / "logs", store)
    for _ in range(3):
        look(follower)
    look(Follower(tmp_path / "logs", store))  # a dashboard that is started again
    assert sorted(reads) == ["a1", "b2"]


def test_configs_that_have_changed_are_read_again_and_kept(tmp_path: Path, reads: list[str]) -> None:
    folder = make_run(tmp_path / "logs", "a1", valid=0.5)
    store = Store(tmp_path / "index.sqlite")
    follower = Follower(tmp_path / "logs", store)
    look(follower)
    (folder / "configs.yaml").write_text(CHANGED)
    look(follower)
    again = Follower(tmp_path / "logs", store)
    again.look()
    for shown in (follower, again):
        assert shown.runs["a1"].configs["epochs"]["value"] == 12345
    assert reads == ["a1", "a1"]


def test_configs_that_change_while_they_are_kept_are_not_taken_for_kept(tmp_path: Path, monkeypatch) -> None:
    folder = make_run(tmp_path / "logs", "a1", valid=0.5)
    store = Store(tmp_path / "index.sqlite")
    follower = Follower(tmp_path / "logs", store)
    keep = store.set

    def change_and_keep(kind: str, key: str, value: dict) -> None:
        monkeypatch.setattr(store, "set", keep)
        (folder / "configs.yaml").write_text(CHANGED)
        follower.look()
        keep(kind, key, value)

    monkeypatch.setattr(store, "set", change_and_keep)
    look(follower)
    assert not follower.runs["a1"].is_indexed
    look(follower)
    assert follower.runs["a1"].is_indexed
    again = Follower(tmp_path / "logs", store)
    again.look()
    assert again.runs["a1"].configs["epochs"]["value"] == 12345
