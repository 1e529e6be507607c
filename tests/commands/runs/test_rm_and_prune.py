"""`runs rm` and `runs prune` show what they free, ask first, and never touch a run that trains now."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import PROJECT
from run_folders import make_run

from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import all_runs


@pytest.fixture
def logs(here: Path) -> Path:
    """Two runs that have ended and one that was killed, each with three checkpoints of 2 KiB."""
    logs = here / "logs"
    files = dict.fromkeys(("best", "last", "previous"), 2048)
    for uuid, valid in (("a1", 0.8), ("b1", 0.9), ("c1", None)):
        make_run(logs, uuid, valid=valid, checkpoints=files)
    return logs


def checkpoints(logs: Path) -> list[str]:
    return sorted(f"{file.parents[1].name}/{file.stem}" for file in logs.glob("*/*/checkpoints/*.pt"))


def names(logs: Path) -> list[str]:
    return [run.uuid for run in all_runs(logs)]


def test_prune_keeps_the_tested_weights_and_what_can_be_resumed(logs: Path, call) -> None:
    text = call("runs", "prune", "--yes").out
    assert checkpoints(logs) == ["a1/last", "b1/last", "c1/best", "c1/last", "c1/previous"]
    assert "best.pt previous.pt" in text and text.endswith("checkpoints of 2 runs removed, 8.0 KiB freed\n")
    assert "nothing to remove" in call("runs", "prune", "--yes").out


def test_prune_all_takes_the_tested_weights_too_and_evaluate_says_so(here: Path, call, refusal) -> None:
    shutil.copytree(PROJECT / "tests" / "formats" / "v1" / "sample", here / "logs" / "sample")
    call("runs", "prune", "--yes", "ended")
    assert checkpoints(here / "logs") == ["ended/best", "interrupted/best", "interrupted/last"]
    call("runs", "prune", "--all", "--yes")
    assert checkpoints(here / "logs") == ["interrupted/best", "interrupted/last"]
    assert "did `runs prune --all` remove it?" in refusal(["predict", "ended", "x.png"])


def test_prune_takes_runs_and_filters(logs: Path, call) -> None:
    call("runs", "prune", "valid=0.9", "--yes")
    assert "b1/best" not in checkpoints(logs) and "a1/best" in checkpoints(logs)
    call("runs", "prune", "a1", "--yes")
    assert "a1/best" not in checkpoints(logs)


@pytest.mark.parametrize("command", ["prune", "rm last", "rm status=completed"])
def test_without_a_yes_nothing_is_removed(command: str, logs: Path, refusal, monkeypatch) -> None:
    before = checkpoints(logs)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    assert "nothing was removed; --yes removes without asking" in refusal(["runs", *command.split()])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: (_ for _ in ()).throw(EOFError))
    assert "nothing was removed" in refusal(["runs", *command.split()])
    assert checkpoints(logs) == before


def test_a_yes_removes(logs: Path, call, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda question: asked.append(question) or "y")
    text = call("runs", "rm", "a1", "c").out
    assert names(logs) == ["b1"]
    freed = re.search(r"frees (.*)\?", asked[0]).group(1)  # about 6 KiB of checkpoints each
    assert f"2 runs removed, {freed} freed" in text and 12 < float(freed.removesuffix(" KiB")) < 14


def test_the_last_run_of_a_name_takes_its_folder_along(logs: Path, call) -> None:
    call("runs", "rm", "epochs=3", "--yes")
    assert names(logs) == [] and not (logs / "try").exists() and logs.exists()


def test_a_run_that_trains_now_is_left_as_it_is(logs: Path, call) -> None:
    recorder = Recorder(logs / "try" / "b1")  # holds the lock, also of one that would count as ended
    before = {file: file.stat().st_mtime_ns for file in (logs / "try" / "b1").rglob("*")}
    assert "run b1 trains now" in call("runs", "rm", "--yes", "b1").out
    assert "run b1 trains now" in call("runs", "rm", "--yes", "epochs=3").out
    call("runs", "prune", "--yes", "--all")
    assert names(logs) == ["b1"]
    assert before == {file: file.stat().st_mtime_ns for file in (logs / "try" / "b1").rglob("*")}
    del recorder


def test_a_damaged_run_is_removed_and_no_link_is_followed(logs: Path, here: Path, call) -> None:
    (here / "precious").mkdir()
    (here / "precious" / "file").write_text("x")
    (logs / "try" / "a1" / "checkpoints" / "away").symlink_to(here / "precious")
    (logs / "try" / "b1" / "run.yaml").write_text("[")
    call("runs", "rm", "status=damaged", "--yes")
    assert names(logs) == ["c1"] and (here / "precious" / "file").read_text() == "x"


def test_a_link_in_the_place_of_a_run_is_not_removed(logs: Path, here: Path, call) -> None:
    (logs / "try" / "a1").rename(here / "elsewhere")
    (logs / "try" / "a1").symlink_to(here / "elsewhere")
    assert "a1 is a link: remove it by hand" in call("runs", "rm", "a1", "b1", "--yes", status=1).err
    assert sorted(names(logs)) == ["a1", "c1"]
    assert (here / "elsewhere" / "summary.json").exists()


def test_rm_needs_to_be_told_which(logs: Path, refusal) -> None:
    assert "Missing argument" in refusal(["runs", "rm"])
    assert "there is no run 'x'" in refusal(["runs", "rm", "x"])
    assert names(logs) == ["a1", "b1", "c1"]
