"""Runs, checkpoints and weights of every format there has been keep working; `formats/make.sh` made the samples."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from convmixer.configs import Configs
from convmixer.errors import UserError
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.run_folder import FORMAT, FORMAT_FILE
from convmixer.tracking.runs import run, runs
from convmixer.trained.initial_weights import load_initial_weights
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
    said = command("resume", "interrupted").stdout
    assert re.search(r"^resumes after update 9 of 32, epoch 1.125 of 4, and \d+ s of training$", said, re.MULTILINE), (
        said
    )
    folder = sample / "logs" / "sample" / "interrupted"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["epochs"] == 4 and summary["images"] == 4000
    assert run("interrupted", sample / "logs").metrics.index.is_unique
    assert (folder / FORMAT_FILE).read_text() == f"{FORMAT}\n"  # what was written now is of this version


def test_an_old_run_is_evaluated_and_exported(sample: Path, command, call, monkeypatch) -> None:
    before = json.loads((sample / "logs" / "sample" / "ended" / "summary.json").read_text())
    now = json.loads(command("evaluate", "ended", "--json", "-").stdout)
    unended = command("evaluate", "interrupted").stderr
    assert "has not ended: it is interrupted after 1.13 of 4 epochs; these are its best weights so far" in unended
    assert now["top_1"]["accuracy"] == pytest.approx(before["accuracy.test"], abs=1e-6)
    monkeypatch.chdir(sample)
    call("export", "ended", "--output", "again.safetensors")
    assert from_file(sample / "again.safetensors").summary["accuracy.test"] == before["accuracy.test"]


def test_a_run_that_has_ended_is_trained_on_by_a_new_run(sample: Path, call, refusal, monkeypatch) -> None:
    monkeypatch.chdir(sample)
    monkeypatch.setattr(sys, "argv", ["experiment.py"])
    said = refusal(["resume", "ended", "epochs=9"])
    assert said.startswith("error: run ended (sample) has ended, so it can't be resumed; a new run begins with its wei")
    assert said.endswith("; the newest run that can be resumed is interrup\n")
    command = re.search(r"by: python experiment.py (.*);", said).group(1)
    assert "pretrained=ended" in command and command.endswith("epochs=9") and "epochs=2" not in command
    assert "pretrained   ended" in re.sub(" {3,}", "   ", call("configs", *command.split()).out)
    assert "epochs=N" in refusal(["resume", "ended"])


def test_a_run_is_a_start_for_a_network_of_the_same_sizes(sample: Path, refusal, monkeypatch) -> None:
    monkeypatch.chdir(sample)
    conf = Configs()
    conf.override({"d_model": 4, "n_layers": 1, "patch_size": 8, "data.dataset": "shapes", "pretrained": "ended"})
    values = conf.values() | {"n_classes": 10, "in_channels": 3}
    report = load_initial_weights("ended", conf.model, values, conf.data.dataset.classes)
    assert report == "run ended: 23 of 23 tensors loaded"
    theirs = from_run(run("ended", sample / "logs")).model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in conf.model.state_dict().items())
    assert "give d_model=4 n_layers=1 patch_size=8" in refusal(["data.dataset=shapes", "pretrained=ended"])
    assert "expected FILE.safetensors (`import` makes one), timm/NAME or a run; there is no run" in refusal(
        ["data.dataset=shapes", "pretrained=xyz"]
    )


def test_last_and_best_are_recorded_as_the_run_they_mean(sample: Path, call, refusal, monkeypatch) -> None:
    monkeypatch.chdir(sample)
    assert re.search(r"^pretrained +ended \*", call("configs", "pretrained=best").out, re.MULTILINE)
    assert "name the run that they begin with: pretrained=" in refusal(["pretrained=last", "seeds=2"])
    assert "pretrained=last means another run after each trial" in refusal(["sweep", "pretrained=last", "d_model=4,8"])


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
