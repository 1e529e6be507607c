"""Output that is closed, that nobody reads any more, or that has no room left."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EXPERIMENT

from convmixer.tracking.runs import run

READING = ("runs", "configs", "--help", "sweep list")


def shell(folder: Path, words: list[str], redirection: str) -> subprocess.CompletedProcess:
    """The command in a shell, as a user would redirect it; `status N` is the last line on standard error."""
    line = f'( "$@"; echo "status $?" >&9 ) {redirection}'
    command = ["bash", "-c", f"exec 9>&2; {line}", "bash", sys.executable, str(EXPERIMENT), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("words", READING)
@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "</dev/null <&-"])
def test_closed_streams_are_as_if_led_to_nowhere(words: str, redirection: str, tmp_path: Path) -> None:
    assert shell(tmp_path, words.split(), redirection).stderr == "status 0\n"


@pytest.mark.parametrize("words", READING)
def test_a_full_disk_is_one_line(words: str, tmp_path: Path) -> None:
    said = shell(tmp_path, words.split(), ">/dev/full").stderr
    assert said == "error: the output can't be written: No space left on device\nstatus 1\n"


@pytest.mark.parametrize("words", READING)
def test_a_reader_that_has_left_is_told_by_the_status_alone(words: str, tmp_path: Path) -> None:
    assert shell(tmp_path, words.split(), "| true").stderr == "status 141\n"


def test_a_training_whose_output_is_closed_trains(tiny_run_overrides, tmp_path: Path) -> None:
    """What is printed must not get into a file that has taken the closed stream's number."""
    assert shell(tmp_path, tiny_run_overrides, ">&- 2>&-").stderr == "status 0\n"
    trained = run("last", tmp_path / "logs")
    assert trained.status == "completed" and len(trained.metrics)


@pytest.mark.parametrize("streams", ["", "2>&1 "])
def test_a_reader_that_leaves_in_mid_run_ends_it_saved(streams: str, command, tiny_run_overrides, tmp_path) -> None:
    words = [w for w in tiny_run_overrides if not w.startswith("epochs")] + ["epochs=60"]
    ended = shell(tmp_path, words, f"{streams}| head -n 2")
    stopped = run("last", tmp_path / "logs")
    line = f"interrupted: resume from the last checkpoint with: python experiment.py resume {stopped.uuid}\n"
    assert ended.stderr == ("" if streams else line) + "status 141\n"
    assert stopped.status == "interrupted" and stopped.checkpoint("last").exists()
    command("resume", "last", "--quiet")
    assert run("last", tmp_path / "logs").status == "completed"


def test_a_reader_that_leaves_at_the_end_takes_nothing_from_a_run_that_has_ended(tiny_run_overrides, tmp_path) -> None:
    reader = "| { while read -r line; do case $line in *'test accuracy'*) exit;; esac; done; }"
    assert shell(tmp_path, tiny_run_overrides, reader).stderr == "status 0\n"
    assert run("last", tmp_path / "logs").status == "completed"
