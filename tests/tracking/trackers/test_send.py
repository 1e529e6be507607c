"""`runs send RUN --to TRACKER`: what each tracker's own library then reads of a run that has ended."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import reading
from conftest import EXPERIMENT
from reading import Held, assert_same, recorded

from convmixer.errors import UserError
from convmixer.tracking.runs import Run
from convmixer.tracking.trackers import check_installed


@pytest.fixture
def run(one_run: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of a run that has ended, one of a sweep. Every tracker is offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    source = next(one_run.glob("logs/tiny-*/*/summary.json")).parent
    folder = Path(shutil.copytree(source, here / "logs" / source.parent.name / source.name))
    about = folder / "run.yaml"
    about.write_text(about.read_text().replace("tags:\n", "tags:\n- sweep:widths\n", 1))
    return Run(folder)


def assert_has(held: Held, run: Run) -> None:
    """A tracker has all of a run: scalars, test accuracy, configs, curves, summary, console; and each once."""
    assert held.name == f"{run.info['name']}-{run.uuid[:8]}" and held.group == "widths"
    for metric in ("loss.train", "accuracy.valid", "optim.lr"):
        assert_same(held.curves[metric.replace(".", "/")], recorded(run, metric))
    accuracy = run.summary["accuracy.test"]
    assert_same(held.curves["accuracy/test"], [(run.summary["images"], accuracy)])
    assert float(held.configs["label_smoothing"]) == 0.2 and held.configs["optimizer.optimizer"] == "Muon"
    assert not any(name.startswith("tracking") for name in held.configs)
    assert held.pictures == ["curves"]
    assert str(run.summary["parameters"]) in held.texts["summary"]
    assert f"test accuracy   {accuracy:.2%}" in held.texts["console"]


def send(run: Run, tracker: str, python: str = sys.executable) -> str:
    """What the command says."""
    words = [python, EXPERIMENT, "runs", "send", run.uuid, "--to", tracker]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "mlflow"])
def test_a_run_is_sent_whole_and_once(tracker: str, run: Run, call: Callable) -> None:
    read = getattr(reading, tracker)
    assert call("runs", "send", "last", "--to", tracker).out.startswith("sent to ")
    held = [held for held in read(Path("logs")) if held.name != "widths"]  # MLflow's run for the group
    assert len(held) == 1
    assert_has(held[0], run)
    if tracker != "mlflow":  # which takes 5 s to start; for that see test_live.py
        assert call("runs", "send", "last", "--to", tracker).out.startswith("nothing to send: ")
        assert read(Path("logs")) == held


def test_where_it_is_sent_again_after_it_was_deleted(run: Run, call: Callable) -> None:
    call("runs", "send", "last", "--to", "tensorboard")
    shutil.rmtree("logs/tensorboard")
    assert call("runs", "send", "last", "--to", "tensorboard").out.startswith("sent to ")
    assert_has(reading.tensorboard(Path("logs"))[0], run)


@pytest.fixture(scope="session")
def python_with_trackio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has trackio on top of all that this one has: trackio 0.43 refuses the newest Pillow."""
    folder = tmp_path_factory.mktemp("trackio")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "parent.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "trackio==0.43.0"]
    subprocess.run(pip, check=True)
    return python


@pytest.mark.slow
def test_a_run_is_sent_to_trackio(run: Run, python_with_trackio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(Path("trackio").resolve()))
    for answer in ("sent to ", "nothing to send: "):
        assert send(run, "trackio", str(python_with_trackio)).startswith(answer)
        (held,) = reading.trackio(Path("logs"))
        assert_has(held, run)


def test_a_tracker_that_is_not_installed_is_refused_with_what_installs_it(
    run: Run, refusal: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convmixer.tracking.trackers.find_spec", lambda name: None)
    expected = "wandb is not installed: install it with: pip install '.[wandb]'"
    assert expected in refusal(["runs", "send", "last", "--to", "wandb"])
    assert expected in refusal(["data.dataset=shapes", "tracking.also=[wandb]"])
    assert len(list(Path("logs").glob("*/*"))) == 1


def test_wrong_words_are_refused(run: Run, refusal: Callable) -> None:
    assert "did you mean wandb?" in refusal(["tracking.also=[wanbd]"])
    assert "tracking.also names tensorboard twice" in refusal(["tracking.also=[tensorboard,tensorboard]"])
    assert "'wanbd' is not one of" in refusal(["runs", "send", "last", "--to", "wanbd"])
    labml_only = ["runs", "send", "last", "--to", "wandb", "tracking.app_url=http://127.0.0.1:9/api/v1/x"]
    assert "leave it out with --to wandb" in refusal(labml_only)


def test_a_folder_of_a_trackers_name_is_no_package(run: Run, refusal: Callable, monkeypatch) -> None:
    Path("output").mkdir()
    monkeypatch.syspath_prepend(".")
    with pytest.raises(UserError, match="output is not installed"):
        check_installed(["output"])
