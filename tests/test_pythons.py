"""Every Python that pyproject.toml names and this machine has: requirements.txt installs there, and a run trains."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import EXPERIMENT, PROJECT

METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
NAMED = [line.rpartition(" ")[2] for line in METADATA["classifiers"] if re.fullmatch(r".* :: 3\.\d+", line)]
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
SURELY_THERE = ("3.12", "3.13")  # where `.ci/run` runs
UV = (sys.executable, "-m", "uv")
TINY = ["data.dataset=shapes", "d_model=8", "n_layers=1", "steps=3", "train_batch_size=16", "valid_batch_size=2000"]


def interpreter(version: str) -> str | None:
    """Find a Python of that version on PATH, else among pyenv's."""
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for program in filter(None, (shutil.which(f"python{version}"), *map(str, of_pyenv))):
        says = subprocess.run([program, "--version"], capture_output=True, text=True)
        if says.returncode == 0 and says.stdout.startswith(f"Python {version}."):
            return program
    return None


def test_the_oldest_python_named_is_the_oldest_that_pip_accepts() -> None:
    assert METADATA["requires-python"] == f">={NAMED[0]}"
    assert sorted(NAMED, key=lambda version: int(version.partition(".")[2])) == NAMED
    assert RUNNING in NAMED


@pytest.mark.slow
@pytest.mark.parametrize("version", [version for version in NAMED if version != RUNNING])
def test_a_run_trains_and_is_evaluated(version: str, tmp_path: Path) -> None:
    program = interpreter(version)
    if program is None:
        must_be_there = os.environ.get("CONVMIXER_CI") and version in SURELY_THERE
        (pytest.fail if must_be_there else pytest.skip)(f"Python {version} is not on PATH, nor among pyenv's")
    environment = tmp_path / "venv"
    try:
        done(*UV, "venv", "--quiet", "--python", program, environment)
        python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
        done(*UV, "pip", "install", "--quiet", "--python", python, "-r", PROJECT / "requirements.txt")
        assert version in done(python, "--version").stdout
        assert "test accuracy" in done(python, EXPERIMENT, *TINY, cwd=tmp_path).stdout
        assert "accuracy" in done(python, EXPERIMENT, "evaluate", "last", cwd=tmp_path).stdout
    finally:
        shutil.rmtree(environment, ignore_errors=True)


def done(*words: object, cwd: Path = PROJECT) -> subprocess.CompletedProcess:
    """Run a command that must succeed."""
    ended = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended
