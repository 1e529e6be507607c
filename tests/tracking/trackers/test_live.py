"""`tracking.also`: runs sent while they train. Whatever a tracker or the training does, the run itself is complete."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import reading
from conftest import Command, metrics_saved, wait_for
from reading import assert_same, recorded
from run_folders import only_run

from convmixer.tracking.runs import Run, all_runs

pytestmark = pytest.mark.slow

ALSO = "tracking.also=[tensorboard,wandb,mlflow]"
METRICS = ("loss.train", "accuracy.valid", "optim.lr")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def long_run_overrides(tiny_run_overrides: list[str]) -> list[str]:
    """Overrides under which a run takes about half a minute."""
    rest = [override for override in tiny_run_overrides if not override.startswith(("epochs", "d_model"))]
    return [*rest, "epochs=100", "d_model=64"]


def children(word: str) -> list[int]:
    """The processes that send the runs below this word's folder."""
    listed = subprocess.run(["pgrep", "-f", f"convmixer.tracking.trackers .*{word}"], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def wait_until_gone(word: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while children(word):
        assert time.monotonic() < end
        time.sleep(0.1)


def assert_all_have(run: Run, logs: Path, status: str) -> None:
    for read in (reading.tensorboard, reading.mlflow):
        (held,) = [held for held in read(logs) if held.name.endswith(run.uuid[:8])]
        for metric in METRICS:
            assert_same(held.curves[metric.replace(".", "/")], recorded(run, metric))
    assert held.status == status
    parts = [held.curves for held in reading.wandb(logs)]  # offline, each start of a run writes a folder of its own
    for metric in METRICS:
        name = metric.replace(".", "/")
        assert_same([point for part in parts for point in part.get(name, [])], recorded(run, metric))


def test_a_run_is_sent_while_it_trains_and_after_a_kill_and_a_resume(
    tmp_path: Path, start: Callable, command: Command, long_run_overrides: list[str]
) -> None:
    logs = tmp_path / "logs"
    training = start(*long_run_overrides, ALSO)
    events = lambda: sum(len(held.curves.get("loss/train", [])) for held in reading.tensorboard(logs))  # noqa: E731
    wait_for(lambda: (logs / "tensorboard").exists() and events() > 20, training, 60)
    wait_for(lambda: (logs / "mlflow.db").exists() and list(logs.glob("wandb/offline-run-*")), training, 60)
    run = only_run(tmp_path)
    wait_for(lambda: (run.folder / "trackers" / "mlflow.sent").exists(), training, 60)
    training.send_signal(signal.SIGKILL)
    training.wait()
    wait_until_gone(run.uuid, 40)
    assert_all_have(run, logs, "KILLED")

    resumed = start("resume", "last")
    before = metrics_saved(logs)
    wait_for(lambda: metrics_saved(logs) > before + 20, resumed, 60)
    resumed.send_signal(signal.SIGINT)
    assert resumed.wait() == 130
    wait_until_gone(run.uuid, 40)
    assert_all_have(run, logs, "KILLED")

    ended = command("resume", "last")
    wait_until_gone(run.uuid, 40)
    assert "tracking.also" not in ended.stderr
    assert_all_have(run, logs, "FINISHED")
    for tracker in ("tensorboard", "wandb", "mlflow"):
        assert command("runs", "send", "last", "--to", tracker).stdout.startswith("nothing to send")


BROKEN = {
    "hangs": "import time\ntime.sleep(1000)\n",
    "raises": "raise ConnectionError('no route\\nto host')\n",
    "exits": "import os\nos._exit(7)\n",
    "is killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "prints without end": "while True:\n    print('x' * 1000, flush=True)\n",
    "is stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
}


@pytest.mark.parametrize("behaviour", BROKEN)
def test_a_tracker_that_fails_is_a_line_of_warning(
    behaviour: str, tmp_path: Path, command: Command, tiny_run_overrides: list[str]
) -> None:
    package = tmp_path / "broken" / "wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(BROKEN[behaviour])
    began = time.monotonic()
    ended = command(
        *tiny_run_overrides, "tracking.also=[wandb,tensorboard]", PYTHONPATH=str(tmp_path / "broken"), status=None
    )
    took = time.monotonic() - began
    run = only_run(tmp_path)
    printed = (run.folder / "trackers" / "wandb.log").stat().st_size
    if behaviour == "hangs":
        wait_until_gone(run.uuid, 75)
    for pid in children(run.uuid):
        os.kill(pid, signal.SIGKILL)
    assert ended.returncode == 0 and run.summary["accuracy.test"] >= 0
    warnings = ended.stderr.splitlines()
    how = rf"send what is missing later with: python experiment.py runs send {run.uuid[:8]} --to wandb"
    assert 1 <= len(warnings) <= 2 and all(re.fullmatch(rf"tracking.also=wandb: .*; {how}", w) for w in warnings)
    assert took < 90 and printed < 2**29
    (held,) = reading.tensorboard(tmp_path / "logs")  # the other one is not held up
    assert_same(held.curves["loss/train"], recorded(run, "loss.train"))


def test_seeds_are_a_group(tmp_path: Path, command: Command, tiny_run_overrides: list[str]) -> None:
    command(*tiny_run_overrides, "seeds=2", "tracking.also=[tensorboard]")
    groups = {held.group for held in reading.tensorboard(tmp_path / "logs")}
    assert len(all_runs(tmp_path / "logs")) == 2 and len(groups) == 1 and groups != {None}


def test_a_sweep_is_a_group(tmp_path: Path, command: Command, tiny_run_overrides: list[str]) -> None:
    rest = [override for override in tiny_run_overrides if not override.startswith("d_model")]
    command("sweep", *rest, "d_model=4,8", "--name", "widths", "--jobs", "2", "tracking.also=[tensorboard,mlflow]")
    logs = tmp_path / "logs"
    wait_until_gone(str(logs), 60)
    assert [held.group for held in reading.tensorboard(logs)] == ["widths", "widths"]
    in_mlflow = {held.name: held for held in reading.mlflow(logs)}
    assert in_mlflow.pop("widths").group is None
    assert [held.group for held in in_mlflow.values()] == ["widths", "widths"]
