"""Runs, checkpoints and weights of every format there has been keep working; `formats/make.sh` made the samples."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch

from convmixer.errors import UserError
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.run_folder import FORMAT, FORMAT_FILE
from convmixer.tracking.runs import run, runs
from convmixer.trained.opening import from_file, from_run
from convmixer.training import checkpoints

SAMPLES = sorted((Path(__file__).parent / "formats").glob("v*"))


@pytest.fixture(params=SAMPLES, ids=lambda folder: folder.name)
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a sample, its runs where the commands look for them."""
    shutil.copytree(request.param, tmp_path, dirs_exist_ok=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "sample").rename(tmp_path / "logs" / "sample")
    return tmp_path


def test_there_is_a_sample_of_each_format() -> None:
    assert [folder.name for folder in SAMPLES] == [f"v{n}" for n in range(1, max(FORMAT, checkpoints.FORMAT) + 1)]


def test_old_runs_are_listed_plotted_and_opened(sample: Path) -> None:
    logs = sample / "logs"
    status = runs(logs).set_index("run").status.to_dict()
    assert status == {"ended": "completed", "interrup": "interrupted"}
    both = [run("ended", logs), run("interrupted", logs)]
    picture = io.BytesIO()
    learning_curves(both).savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")
    assert both[0].metrics["loss.train"].notna().all() and both[0].metrics.index.max() == 2000
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    for trained in (*map(from_run, both), from_file(sample / "ended.safetensors")):
        assert trained.model(trained.normalise(images)).shape == (2, 10)


def test_old_weights_give_what_the_run_does(sample: Path) -> None:
    ours, weights = (
        opened.model.state_dict()
        for opened in (from_run(run("ended", sample / "logs")), from_file(sample / "ended.safetensors"))
    )
    assert all(torch.equal(tensor, weights[name]) for name, tensor in ours.items())


def test_an_old_run_is_resumed_to_its_end(sample: Path, command) -> None:
    """With Muon, an average of the weights and mixed images."""
    command("resume", "interrupted")
    folder = sample / "logs" / "sample" / "interrupted"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["epochs"] == 4 and summary["images"] == 4000
    assert run("interrupted", sample / "logs").metrics.index.is_unique
    assert (folder / FORMAT_FILE).read_text() == f"{FORMAT}\n"  # what was written now is of this version


def test_an_old_run_is_evaluated_and_exported(sample: Path, command, call, monkeypatch) -> None:
    before = json.loads((sample / "logs" / "sample" / "ended" / "summary.json").read_text())
    now = json.loads(command("evaluate", "ended", "--json", "-").stdout)
    assert now["top_1"]["accuracy"] == pytest.approx(before["accuracy.test"], abs=1e-6)
    monkeypatch.chdir(sample)
    call("export", "ended", "--output", "again.safetensors")
    assert from_file(sample / "again.safetensors").summary["accuracy.test"] == before["accuracy.test"]


def test_a_run_of_a_newer_format_is_refused_in_one_line(sample: Path, monkeypatch, refusal) -> None:
    folder = sample / "logs" / "sample" / "ended"
    (folder / FORMAT_FILE).write_text("99\n")
    monkeypatch.chdir(sample)
    expected = f"the run has format 99, this version reads up to {FORMAT}"
    for command in (["evaluate", "ended"], ["resume", "ended"], ["export", "ended", "--output", "x.safetensors"]):
        assert expected in refusal(command)
    assert expected in runs(sample / "logs").set_index("run").given["ended"]


def test_a_checkpoint_with_keys_of_a_newer_version_loads_and_one_without_them_too(sample: Path) -> None:
    """What is added to a checkpoint within a format must have a default."""
    path = run("interrupted", sample / "logs").checkpoint("last")
    state = checkpoints.load(path)
    assert state["format"] == 1
    checkpoints.save(path, state | {"added_later": 3})
    assert from_run(run("interrupted", sample / "logs")).model
    checkpoints.save(path, state | {"format": 2})
    with pytest.raises(UserError, match="checkpoint has format 2, this version reads 1"):
        checkpoints.load(path)
