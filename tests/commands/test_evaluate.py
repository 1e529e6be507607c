"""`evaluate`: every figure of a run or weights file, on its own test images or on others."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from conftest import EXPERIMENT, PROJECT
from PIL import Image

from convmixer.tracking.runs import Run, all_runs

WEIGHTS = PROJECT / "weights" / "small-cifar10.safetensors"


@pytest.fixture(scope="module")
def project(tiny: Path, tiny_run_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run on `tiny`, which knows red, green and blue."""
    folder = tmp_path_factory.mktemp("project")
    overrides = [*tiny_run_overrides[:-1], "epochs=1"]  # so that it still makes mistakes
    subprocess.run([sys.executable, EXPERIMENT, *overrides], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run; commands are called in its project, as by `experiment.py`."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", [str(EXPERIMENT)])
    (found,) = all_runs(project / "logs")
    return found


@pytest.fixture
def figures(call: Callable) -> Callable[..., dict]:
    """What `evaluate last ... --json -` gives."""
    return lambda *arguments: json.loads(call("evaluate", "last", "--json", "-", *arguments).out)


def plain_zip(tree: Path, path: Path, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.write(file, top + str(file.relative_to(tree)))
    return path


def test_it_measures_what_training_measured(trained, figures) -> None:
    found = figures()
    assert found["top_1"]["accuracy"] == pytest.approx(trained.summary["accuracy.test"], abs=1e-6)
    assert found["loss"] == pytest.approx(trained.summary["loss.test"], rel=1e-5)
    assert found["images"] == 60 and found["data"] == "tiny" and found["network"] == trained.uuid[:8]
    low, high = found["top_1"]["interval"]
    assert low <= found["top_1"]["accuracy"] <= high
    assert "top_5" not in found and "top_1_with_mirror" not in found


def test_figures_agree_with_each_other(trained, figures) -> None:
    found = figures()
    correct = [row[i] for i, row in enumerate(found["confusion"])]
    assert sum(correct) / 60 == pytest.approx(found["top_1"]["accuracy"])
    assert [c["accuracy"] for c in found["classes"].values()] == pytest.approx([hit / 20 for hit in correct])
    assert sum(found["calibration"]["images"]) == 60
    assert found["images_per_second"] > 0


def test_the_terminal_shows_a_line_for_each_class(trained, call) -> None:
    lines = call("evaluate", "last").out.splitlines()
    assert re.match(r"test accuracy \d+\.\d\d% of 60 images of tiny", lines[0])
    assert re.match(r"95% interval +\d+\.\d\d% to \d+\.\d\d%", lines[1])
    assert [line.split()[:2] for line in lines[-3:]] == [["blue", "20"], ["green", "20"], ["red", "20"]]


def test_pictures_go_to_the_runs_folder_or_where_they_are_wanted(trained, call, tmp_path) -> None:
    call("evaluate", "last")
    call("evaluate", "last", "--output", tmp_path / "here")
    for folder in (trained.folder / "evaluation" / "tiny", tmp_path / "here"):
        assert sorted(file.name for file in folder.iterdir()) == ["confusion.png", "reliability.png"]
        for file in folder.iterdir():
            assert min(Image.open(file).size) > 300


def test_mirrored_images_are_reported_beside_and_never_instead(trained, figures, call) -> None:
    plain, both = figures(), figures("--tta")
    assert both.pop("top_1_with_mirror")["accuracy"] > 0.6
    changing = ("images_per_second",)
    assert {k: v for k, v in plain.items() if k not in changing} == {k: v for k, v in both.items() if k not in changing}
    assert "with mirror" in call("evaluate", "last", "--tta").out
    assert call("evaluate", "last", "--tta", "mirror", "--json", "-").out.count("top_1_with_mirror") == 1
    shifted = figures("--tta", "shifts")
    assert shifted["top_1_with_shifts"]["accuracy"] > 0.6 and "top_1_with_mirror" not in shifted


@pytest.mark.parametrize("form", ["tree", "classes", "zip", "zip of classes", "zip with a top folder"])
def test_labelled_images_in_every_form(trained, tiny, figures, tmp_path, form) -> None:
    path = {
        "tree": lambda: tiny,
        "classes": lambda: tiny / "test",
        "zip": lambda: plain_zip(tiny, tmp_path / "colours.zip"),
        "zip of classes": lambda: plain_zip(tiny / "test", tmp_path / "colours.zip"),
        "zip with a top folder": lambda: plain_zip(tiny, tmp_path / "colours.zip", "my-images/"),
    }[form]()
    found = figures("--data", path)
    assert found["data"] == {"tree": "tiny", "classes": "test"}.get(form, "colours")
    assert found["top_1"]["accuracy"] == pytest.approx(trained.summary["accuracy.test"], abs=1e-6)


def test_images_of_other_sizes_and_only_some_of_the_classes(trained, figures, tmp_path) -> None:
    for name, colour in {"red": (200, 60, 60), "blue": (60, 60, 200)}.items():
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i, size in enumerate([(40, 30), (7, 9)]):
            Image.new("RGB", size, colour).save(tmp_path / f"mine/{name}/{i}.jpg")
    found = figures("--data", tmp_path / "mine")
    assert list(found["classes"]) == ["blue", "red"] and found["images"] == 4
    assert found["top_1"]["accuracy"] == 1.0


def spoil(tree: Path, fault: str) -> None:
    if fault == "unknown class":
        (tree / "rad").mkdir()
        (tree / "red" / "0.png").rename(tree / "rad" / "0.png")
    elif fault == "empty class":
        for image in (tree / "red").iterdir():
            image.unlink()
    elif fault == "broken image":
        (tree / "red" / "0.png").write_bytes(b"broken")
    elif fault == "no images":
        for image in tree.rglob("*.png"):
            image.unlink()
        for folder in list(tree.iterdir()):
            folder.rmdir()
    elif fault == "nested":
        (tree / "red" / "more").mkdir()


FAULTS = {
    "unknown class": "does not know the class 'rad', expected a folder named red",
    "empty class": "there are no images of the class 'red'",
    "broken image": "/red/0.png is not an image",
    "no images": "holds no images: expected <class>/* or test/<class>/*",
    "nested": "a folder inside a class",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_data_that_cannot_be_measured_is_refused(trained, tiny, refusal, tmp_path, fault) -> None:
    copytree(tiny / "test", tmp_path / "mine")
    spoil(tmp_path / "mine", fault)
    assert FAULTS[fault] in refusal(["evaluate", "last", "--data", str(tmp_path / "mine"), "--output", "pictures"])
    assert not Path("pictures").exists()


REFUSED = {
    "--data nowhere": "nowhere: no such folder or .zip",
    "--data x.png data.path=y": "--data and data.path exclude each other",
    "d_model=3": "d_model can't be changed",
    "device=cuda:99": "cuda:99",
    "precision=float16 device=cpu": "needs a GPU",
    "--json /dev/null": "is not an ordinary file",
    "--json nowhere/x.json": "there is no folder nowhere",
    "--output logs/x/y --data nowhere": "no such folder",
    "--output file/in/the/way": "can't be written",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_wrong_arguments_are_refused(trained, refusal, arguments) -> None:
    Path("file").write_text("")
    assert REFUSED[arguments] in refusal(["evaluate", "last", *arguments.split()])


def test_json_goes_to_a_file_too(trained, call, tmp_path) -> None:
    call("evaluate", "last", "--json", tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text())["images"] == 60


def test_a_zip_whose_classes_lie_at_different_places_is_refused(trained, tiny, refusal, tmp_path) -> None:
    path = plain_zip(tiny / "test", tmp_path / "colours.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tiny / "test/red/0.png", "more/red/0.png")
    assert "side by side" in refusal(["evaluate", "last", "--data", str(path)])


@pytest.mark.slow
def test_the_shipped_weights_on_real_images(cifar10_files, call, here) -> None:
    data = ("data.dataset=cifar10", f"data.path={cifar10_files.parent}")
    found = json.loads(call("evaluate", WEIGHTS, *data, "--tta", "--json", "-").out)
    assert found["images"] == 10_000 and list(here.iterdir()) == []
    assert found["top_1"]["accuracy"] == pytest.approx(0.8741, abs=0.001)
    assert found["top_1_with_mirror"]["accuracy"] == pytest.approx(0.8835, abs=0.001)
    assert found["top_5"]["accuracy"] == pytest.approx(0.9932, abs=0.001)
    assert found["calibration"]["error"] == pytest.approx(0.0544, abs=0.002)
    assert found["classes"]["cat"]["taken_for"]["class"] == "dog"


ODD = {":smile:": "red", "[bold]": "green", os.fsdecode(b"caf\xe9"): "blue"}


@pytest.fixture(scope="module")
def oddly_named(tiny, tiny_run_overrides, tmp_path_factory) -> Path:
    """A folder with a run on classes that Rich, and text, take for something else."""
    folder = tmp_path_factory.mktemp("odd")
    for split in ("train", "test"):
        for odd, plain in ODD.items():
            copytree(tiny / split / plain, folder / "tree" / split / odd)
    overrides = [*tiny_run_overrides[:1], f"data.path={folder / 'tree'}", *tiny_run_overrides[2:-1], "epochs=1"]
    subprocess.run([sys.executable, EXPERIMENT, *overrides], cwd=folder, check=True, capture_output=True)
    return folder


def test_names_of_classes_are_shown_as_they_are(oddly_named, monkeypatch, call) -> None:
    monkeypatch.chdir(oddly_named)
    monkeypatch.setattr(sys, "argv", [str(EXPERIMENT)])
    shown = call("evaluate", "last").out
    assert all(re.search(rf"^{re.escape(name)} ", shown, re.M) for name in (":smile:", "[bold]", r"caf\udce9"))
    assert call("evaluate", "last", "--data", oddly_named / "tree").out.splitlines()[0] == shown.splitlines()[0]
    call("export", "last", "--output", "odd.safetensors")
    call("export", "last", "--output", "odd.pt2", "--format", "pt2")
    assert json.loads(call("evaluate", "odd.safetensors", "--json", "-", "--data", oddly_named / "tree").out)["top_1"]
    image = next((oddly_named / "tree/test").glob("*/*.png"))
    assert call("predict", "odd.safetensors", image, "--format", "table").out.isprintable() is False  # its line's end
    assert json.loads(call("predict", "odd.safetensors", image, "--format", "jsonl").out)["class"] in ODD
