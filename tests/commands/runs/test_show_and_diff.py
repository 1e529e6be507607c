"""`runs show`, `runs diff` and `configs --diff`, on the two runs that an older version left."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from conftest import PROJECT
from run_folders import make_run

from convmixer.commands.runs.terminal_curves import Curve, draw, frame_of


@pytest.fixture
def sample(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, one of which has ended and one was interrupted."""
    shutil.copytree(PROJECT / "tests" / "formats" / "v1" / "sample", here / "logs" / "sample")
    monkeypatch.setattr(sys, "argv", ["experiment.py"])
    return here / "logs"


def test_show_has_results_configs_and_the_command_that_repeats_it(sample: Path, call) -> None:
    lines = call("runs", "show", "ended").out.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines[: lines.index("")])
    assert told["status"] == "completed" and told["accuracy.test"] == "9.00%" and told["epochs"] == "2"
    assert told["checkpoints"] == "best.pt 36.5 KiB, last.pt 36.5 KiB"
    assert shlex.split(told["repeat"])[:2] == ["python", "experiment.py"]
    assert {"d_model=4", "data.dataset=shapes", "recipe=small", "seed=0"} <= set(shlex.split(told["repeat"]))
    assert "data.validation  9000" in lines


def test_the_command_that_repeats_a_run_gives_the_same_configs(sample: Path, call) -> None:
    """But for the initial weights, which the recipe of that version did not set."""
    repeat = json.loads(call("runs", "show", "interrupted", "--json").out)["command"]
    assert "augment.ops=[flip,mixup,cutmix]" in shlex.split(repeat)
    differing = call("configs", "--diff", "interrupted", *shlex.split(repeat)[2:]).out.splitlines()
    assert [line.split() for line in differing[1:]] == [["starts", "[whitening,covariance]", "[]"]]


def test_show_of_a_run_of_a_script_starts_that_script(here: Path, call) -> None:
    keys = {"minutes": 5, "steps": 1234, "share": 0.5, "name": "a b", "compile": True}
    make_run(here / "logs", "a1", keys=keys, python_file="/x y/mine.py")
    shown = json.loads(call("runs", "show", "a1", "--json").out)
    words = shlex.split(shown["command"])
    assert words[:2] == ["python", "/x y/mine.py"] and shown["script"] == "mine.py"
    assert {"steps=1234", "share=0.5", "name=a b", "compile=true"} <= set(words)
    assert not any(word.startswith("minutes") for word in words)  # they were measured into steps


def test_show_all_lists_every_key(sample: Path, call) -> None:
    rows = [line.split() for line in call("runs", "show", "ended", "--all").out.splitlines()]
    assert ["d_model", "4", "yes"] in rows and ["label_smoothing", "0.1"] in rows


def test_diff_shows_configs_results_and_curves_side_by_side(sample: Path, call) -> None:
    text = call("runs", "diff", "ended", "interrupted").out
    rows = [line.split() for line in text.splitlines()]
    assert ["epochs", "2", "4"] in rows and ["ema", "none", "0.9"] in rows
    assert ["status", "completed", "interrupted"] in rows
    assert not any(row[:1] == ["d_model"] for row in rows)
    assert "accuracy.valid over 2,000 training images" in text
    assert any("⠉" in line for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_diff_fits_the_terminal(width: int, sample: Path, call, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = call("runs", "diff", "ended", "interrupted", "--metric", "loss.train").out.splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith("optimizer.optimizer") for line in lines)
    heading = next(i for i, line in enumerate(lines) if line.startswith("loss.train over"))
    assert lines[heading + 1].split() == (["ended"] if width == 40 else ["ended", "interrup"])


def test_diff_says_what_is_wrong(sample: Path, call, refusal) -> None:
    assert "two or more different runs" in refusal(["runs", "diff", "ended"])
    assert "two or more different runs" in refusal(["runs", "diff", "ended", "end"])
    assert "none of the runs has recorded it" in call("runs", "diff", "ended", "interrupted", "--metric", "no").out


def test_configs_diff_shows_what_a_command_would_change(sample: Path, call, refusal) -> None:
    rows = [line.split() for line in call("configs", "--diff", "ended", "d_model=4", "epochs=9").out.splitlines()]
    assert ["key", "here", "ended"] in rows and ["epochs", "9", "2"] in rows and ["n_layers", "8", "1"] in rows
    assert not any(row[0] == "d_model" for row in rows)
    assert "there is no run 'none'" in refusal(["configs", "--diff", "none"])


def test_a_curve_goes_from_corner_to_corner() -> None:
    curve = Curve([0, 50, 100], [0.0, 0.5, 1.0])
    picture = draw(curve, frame_of([curve]), width=12, height=4, braille=False)
    assert picture[0].startswith("1 ") and picture[0].endswith("*") and picture[-1].startswith("0 *")
    assert [len(line) for line in picture] == [12] * 4


def test_steps_that_are_no_counts_take_no_time() -> None:
    curve = Curve([-(2**62), 0, 1], [0.0, 1.0, 2.0])
    assert len(draw(curve, frame_of([curve]), 20, 3)) == 3


def test_curves_without_a_value_or_of_one_value_are_drawn() -> None:
    for values in ([], [3.0], [3.0, 3.0], [float("nan"), 1.0], [1e308, -1e308], [float("inf")]):
        curve = Curve(list(range(len(values))), values)
        assert len(draw(curve, frame_of([curve]), 20, 3)) == 3
