"""The Dockerfile and the GitHub workflow, neither of which runs here: what they name is there, and is enough."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT

DOCKERFILE = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
TINY = ["data.dataset=shapes", "d_model=8", "n_layers=1", "steps=3", "train_batch_size=16", "valid_batch_size=2000"]


def instructions(name: str) -> list[str]:
    """Return what follows each `name` of the Dockerfile."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def copied() -> list[tuple[Path, str]]:
    """Return what the image gets of this checkout: file or folder, and where in the image's folder."""
    found = []
    for line in instructions("COPY"):
        *sources, target = line.replace("--chown=student ", "").split()
        for source in sources:
            found.append((PROJECT / source, f"{target}{Path(source).name}" if target.endswith("/") else target))
    return found


def test_the_image_is_not_run_by_root_and_what_it_copies_is_there() -> None:
    assert instructions("USER") == ["student"]
    assert DOCKERFILE.index("USER student") < DOCKERFILE.index("pip install")
    assert copied() and all(source.exists() for source, _ in copied())
    assert instructions("CMD") == ['["python", "experiment.py"]']


def test_docker_ignores_all_but_what_is_copied() -> None:
    kept = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {source.relative_to(PROJECT).as_posix() for source, _ in copied()}


@pytest.mark.slow
def test_what_the_image_holds_trains_and_predicts(tmp_path: Path) -> None:
    for source, target in copied():
        place = tmp_path / target
        place.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place)
    for words in (["predict", "weights/small-cifar10.safetensors", "docs/ship.png"], TINY, ["runs"]):
        ended = subprocess.run(
            [sys.executable, "experiment.py", *words], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "completed" in ended.stdout


def test_the_workflow_gives_readme_s_commands_on_three_systems() -> None:
    workflow = yaml.safe_load((PROJECT / ".github/workflows/readme.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML's `on`
    given = [step["run"] for step in job["steps"] if "run" in step]
    readme = (PROJECT / "README.md").read_text()
    for command in (
        "pip install -r requirements.txt && python experiment.py",
        "pip install -r requirements-dev.txt && pytest",
    ):
        assert command in readme and any(words.startswith(command) for words in given)
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
    for name in re.findall(r"matrix\.(\w+)", str(job)):
        assert name in job["strategy"]["matrix"]
