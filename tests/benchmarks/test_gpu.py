"""The runs on a lent GPU, rehearsed on a CPU: what travels, unpacked elsewhere, and every stage at a tiny size."""

import csv
import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import PROJECT

from benchmarks.gpu import travel
from benchmarks.gpu.ceilings import Network, ceiling, step_bytes, step_flops
from benchmarks.gpu.machine import Machine
from benchmarks.gpu.stages import Outcome, Stage, Table, run_stages

UNPACK = "import pathlib, sys; pathlib.Path(sys.argv[1] + '-' + sys.argv[2]).write_text('images')"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tree, without git; what is packed has small files in the place of the images."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "unpack.py").write_text(UNPACK)
    for part in (1, 2):
        (images / f"part{part}.pack").write_text("pixels")
    monkeypatch.setattr(travel, "FOLDER", tmp_path / ".gpu")
    machine = tmp_path / "machine"
    for name in ("benchmarks", "convmixer"):
        shutil.copytree(PROJECT / name, machine / name, ignore=shutil.ignore_patterns("__pycache__"))
    (machine / "out").mkdir()
    return machine


def run_there(run: str, elsewhere: Path) -> dict[str, list[dict[str, str]]]:
    """Pack, bring it there, run its script; the rows of all files by name."""
    assert travel.pack(run, elsewhere.parent / "images") < travel.MOST_BYTES
    shutil.copytree(travel.FOLDER, elsewhere / ".gpu")
    folders = {"OUT": elsewhere / "out", "SITE": elsewhere / "site", "IMAGES": elsewhere / "cifar10"}
    environment = os.environ | {name: str(path) for name, path in folders.items()} | {"OMP_NUM_THREADS": "1"}
    command = ["bash", ".gpu/run", "--tiny", "--device", "cpu"]
    ended = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (elsewhere / f"cifar10-{travel.PART[run]}").exists() and (elsewhere / "site" / "labml").is_dir()
    return {path.stem: rows(path) for path in (elsewhere / "out").iterdir()}


def test_the_run_of_kernels_checks_them_first_and_writes_a_row_for_each_measurement(elsewhere: Path) -> None:
    found = run_there("kernels", elsewhere)
    expected = ["machine", "correctness", "steps", "operations"]
    assert [(row["stage"], row["outcome"]) for row in found["stages"]] == [(name, "done") for name in expected]
    assert all(row["passed"] == "True" for row in found["correctness"])
    assert {row["check"] for row in found["correctness"]} >= {"float64", "point-wise", "bits", "strides", "layer"}
    assert {row["way"] for row in found["steps"]} == {"eager", "native, eager"}
    assert len({(row["operation"], row["side"], row["kernel"]) for row in found["operations"]}) == 3 * 4 * 2
    measured = [*found["steps"], *found["operations"]]
    assert all(float(row["milliseconds"]) > 0 and float(row["share"]) > 0 and not row["problem"] for row in measured)
    assert found["machine"][0]["commit"] in (travel.FOLDER / "run").read_text()


@pytest.mark.slow
def test_the_run_of_trainings_writes_each_epoch_and_goes_through_its_seeds_in_one_process(elsewhere: Path) -> None:
    found = run_there("training", elsewhere)
    assert {row["outcome"] for row in found["stages"]} == {"done"}
    ended = [(row["run"], row["seed"]) for row in found["trainings"]]
    assert ended == [("fast, held out", "0"), ("fast", "0"), ("fast", "1"), ("paper", "0")]
    assert [(row["run"], row["seed"]) for row in found["epochs"]] == ended
    assert all(0 < float(row["accuracy_test"]) < 1 for row in found["trainings"])


def test_more_than_may_travel_is_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel, "MOST_BYTES", 2**16)
    with pytest.raises(ValueError, match="MiB would travel"):
        travel.pack("kernels", elsewhere.parent / "images")


def write_and_hang(folder: Path) -> None:
    """A row, then a process of its own, then nothing more."""
    child = subprocess.Popen(["sleep", "600"])
    Table(folder / "found.csv", Outcome).add(Outcome("before it hung", float(child.pid), "written"))
    time.sleep(600)


def fail() -> None:
    raise ValueError("two\nlines")


def test_a_stage_that_fails_dies_or_hangs_stops_no_other_and_keeps_its_rows(tmp_path: Path) -> None:
    ends = {"fails": fail, "dies": partial(os._exit, 3), "hangs": partial(write_and_hang, tmp_path), "works": int}
    stages = [Stage(name, 2, run) for name, run in ends.items()]
    outcomes = run_stages([*stages, Stage("late", 2, int)], tmp_path, time.monotonic() + 60)
    said = ["failed: ValueError: two lines", "failed: ended with status 3", "out of time", "done", "done"]
    assert [outcome.outcome for outcome in outcomes] == said
    assert [row["outcome"] for row in rows(tmp_path / "stages.csv")] == said
    (row,) = rows(tmp_path / "found.csv")
    state = subprocess.run(["ps", "-o", "stat=", "-p", f"{float(row['seconds']):.0f}"], capture_output=True, text=True)
    assert state.stdout.strip()[:1] in ("", "Z")  # gone, or dead and not yet collected


def test_no_stage_begins_after_the_end(tmp_path: Path) -> None:
    (outcome,) = run_stages([Stage("late", 2, fail)], tmp_path, time.monotonic() - 1)
    assert outcome.outcome == "out of time"


def test_the_least_time_of_a_step_is_by_its_bytes_or_its_products() -> None:
    """An H100 copies 3.0 TB/s: 256/8 p2 at 512 images moves 23 x 67 MB in each of 8 layers."""
    network = Network(256, 8, 5, 2)
    assert step_bytes(network, 512, 23) == 8 * 23 * 512 * 256 * 16 * 16 * 2
    assert step_flops(network, 1) == 8 * 6 * 256 * 256 * (256 + 25)
    assert ceiling(network, 512, (3.0e12, 600e12)) == pytest.approx(4.12, abs=0.01)
    assert ceiling(network, 512, (3.0e15, 600e12)) == pytest.approx(8 * 6 * 512 * 256 * 256**2 / 600e9)


def test_a_table_holds_what_was_added_in_another_process_too(tmp_path: Path) -> None:
    row = Machine("cpu", "2", "3", "9", "abc", 1.0, 2.0)
    for _ in range(2):
        Table(tmp_path / "machine.csv", Machine).add(row)
    assert [each["commit"] for each in rows(tmp_path / "machine.csv")] == ["abc", "abc"]
