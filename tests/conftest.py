"""What tests share: a small tree of real image files, and `experiment.py` run as a process in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_sources import published, registry, server  # noqa: F401  (fixtures)
from dashboards import dashboard, one_run, start_dashboard  # noqa: F401  (fixtures)
from hypothesis import HealthCheck, settings
from pets import load, tree  # noqa: F401  (fixtures)
from PIL import Image
from preloaded import ForkedProcess, Preloaded
from published import OFFICIAL, unpacked

from convmixer.cli import main
from convmixer.tracking.run_folder import read_log

# Processes started by tests train tiny networks, several at a time: more threads would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `nohup pytest &` hands on that hang-ups and Ctrl-C are ignored, which tests are about.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest-xdist tells its workers the terminal's width. The output of tests goes to no terminal, so it has none.
os.environ.pop("COLUMNS", None)

# How long an example takes says nothing on a machine that is shared.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

PROJECT = Path(__file__).resolve().parents[1]
EXPERIMENT = PROJECT / "experiment.py"

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def cifar10_files() -> Path:
    """The folder of CIFAR-10's binary version, as published. Where it must be there (CI), its absence fails."""
    if not OFFICIAL.exists():
        if os.environ.get("CONVMIXER_CI"):
            pytest.fail(f"{OFFICIAL} is not there")
        pytest.skip(f"the published CIFAR-10 is not at {OFFICIAL}")
    return unpacked()


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs that people had trouble with. Where it must be there (CI), its absence fails."""
    folder = PROJECT.parent / "shared" / "cases"
    if not folder.exists():
        if os.environ.get("CONVMIXER_CI"):
            pytest.fail(f"{folder} is not there")
        pytest.skip(f"the small inputs are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image tree that is learned within seconds: 3 colours, 80 training and 20 test images of 16x16 each."""
    root = tmp_path_factory.mktemp("trees") / "tiny"
    random = np.random.default_rng(0)
    for split, n in (("train", 80), ("test", 20)):
        for channel, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = random.integers(0, 120, (16, 16, 3))
                pixels[..., channel] += random.integers(20, 100)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def tiny_run_overrides(tiny: Path) -> list[str]:
    """Overrides under which a run on `tiny` takes a second."""
    return [
        "data.dataset=images",
        f"data.path={tiny}",
        "data.validation=30",
        "d_model=8",
        "n_layers=2",
        "patch_size=2",
        "train_batch_size=32",
        "epochs=3",
    ]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """What a command that is wrong says: one short line on stderr, with exit status 2. In this process, to be quick."""

    def run(arguments: list[str]) -> str:
        with pytest.raises(SystemExit) as end:
            main(arguments=arguments)
        errors = capsys.readouterr().err
        assert end.value.code == 2, errors
        assert errors.startswith("error: ") and errors.count("\n") == 1
        assert len(errors) < 600
        return errors

    return run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command in this process, to be quick, and returns what it wrote: `call("runs").out`, `.err`."""

    def run(*arguments: object, status: int = 0) -> Any:
        with pytest.raises(SystemExit) as end:
            main(arguments=[str(argument) for argument in arguments])
        written = capsys.readouterr()
        assert end.value.code == status, written.out + written.err
        return written

    return run


@pytest.fixture(scope="session")
def preloaded() -> Preloaded:
    """A process that has imported the package, whose forks run scripts."""
    process = Preloaded()
    yield process
    process.close()


@pytest.fixture
def command(tmp_path: Path, preloaded: Preloaded) -> Command:
    """Runs `python experiment.py ...` in an empty folder, output captured: `command("runs").stdout`.

    With an environment of its own it is a new process; else a fork of one that has the imports behind it.
    """

    def run(
        *arguments: str, status: int | None = 0, script: Path = EXPERIMENT, **environment: str
    ) -> subprocess.CompletedProcess:
        words = [str(script), *map(str, arguments)]
        ended = _in_new_process(words, tmp_path, environment) if environment else preloaded.run(words, tmp_path, 300)
        if status is not None:
            assert ended.returncode == status, ended.stdout + ended.stderr
        return ended

    return run


def _in_new_process(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def start(tmp_path: Path, preloaded: Preloaded) -> Callable[..., ForkedProcess]:
    """Starts `python experiment.py ...` in the same folder as `command` and does not wait for it."""
    started: list[ForkedProcess] = []

    def begin(*arguments: str, script: Path = EXPERIMENT) -> ForkedProcess:
        started.append(preloaded.start([str(script), *map(str, arguments)], tmp_path))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait(60)
        process.stdout.close()
        process.stderr.close()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen | ForkedProcess, seconds: float = 60) -> None:
    """Wait until `condition` holds; the process must not end before."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def metrics_saved(logs: Path) -> int:
    """Lines in the logs of all runs."""
    return sum(len(read_log(log)) for log in logs.glob("*/*/log.jsonl"))
