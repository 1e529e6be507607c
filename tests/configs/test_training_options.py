"""Training options through `python experiment.py ...`: gone on with, tested and taken away as any run."""

import resource
import signal
import subprocess
import sys

import pytest
import torch
from conftest import EXPERIMENT, metrics_saved, wait_for
from run_folders import assert_same_result, only_run

from convmixer.tracking.runs import run

ALL = [
    "d_model=32",
    "ema=0.99",
    "stochastic_depth=0.3",
    "starts=[whitening,covariance,identity,zero_gamma]",
    "batch_norm_momentum=0.2",
    "micro_batch_size=8",
    "schedule=trapezoid",
    "optimizer.optimizer=Muon",
    "optimizer.norm_bias_factor=4",
]


@pytest.fixture
def all_options(tiny_run_overrides) -> list[str]:
    """Overrides with every option on, and time to stop the run."""
    replaced = ("d_model", "epochs", "train_batch_size")
    return [o for o in tiny_run_overrides if not o.startswith(replaced)] + ["train_batch_size=16", "epochs=12", *ALL]


@pytest.mark.slow
def test_killed_and_resumed_with_all_options_on(start, command, all_options, tmp_path) -> None:
    process = start(*all_options)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 15, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    command("resume", "last")
    resumed = only_run(tmp_path)

    header = command(*all_options).stdout
    assert_same_result(resumed, run("last", tmp_path / "logs"))
    assert "weights a moving average, decay 0.99, is validated, tested and saved" in header
    assert "parts   8 images of a batch at a time: each part has its own BatchNorm statistics" in header
    accuracy = resumed.summary["accuracy.test"]
    assert accuracy > 0.6
    assert f"{accuracy:.2%}" in command("evaluate", resumed.uuid).stdout

    state = torch.load(resumed.checkpoint("last"), weights_only=True)  # the average is what is kept as the model
    name = "classification.linear.weight"
    assert not torch.equal(state["model"][name], state["model_in_training"][name])


def test_options_at_their_neutral_values_change_no_bit(command, tiny_run_overrides, tmp_path) -> None:
    command(*tiny_run_overrides)
    plain = only_run(tmp_path)
    neutral = ("ema=none", "stochastic_depth=0", "batch_norm_momentum=0.1", "micro_batch_size=32")
    command(*tiny_run_overrides, *neutral, "optimizer.norm_bias_factor=1")
    assert_same_result(run("last", tmp_path / "logs"), plain)


@pytest.mark.slow
@pytest.mark.parametrize("length", ["steps=2", "minutes=0.1"])
def test_a_batch_that_does_not_fit_into_memory_ends_with_the_largest_that_does(length, tmp_path) -> None:
    """With room for some batches of 128/8 at 16x16 places, beside what torch maps itself."""
    room = mapped_by_torch() + 1_500_000_000
    wanted = ["data.dataset=shapes", "patch_size=2", "train_batch_size=2048", length]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (room, room))

    ended = subprocess.run(
        [sys.executable, EXPERIMENT, *wanted], cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True
    )
    assert ended.returncode == (1 if length.startswith("steps") else 2)
    line = ended.stderr.splitlines()[-1]
    words = line.replace(",", "").replace(";", "").split()
    fits, too_large = (int(word) for word in words if word.isdecimal())
    assert line.startswith("error: out of memory: train_batch_size=2048 does not fit")
    assert 8 <= fits < too_large < 2048

    smaller = [*wanted[:2], f"train_batch_size={fits // 2}", "steps=2", "valid_batch_size=32"]
    subprocess.run([sys.executable, EXPERIMENT, *smaller], cwd=tmp_path, preexec_fn=limit, check=True)


def mapped_by_torch() -> int:
    """Bytes of address space that a process has which only imported what a run needs."""
    code = "import labml, torch, convmixer.configs.schema; print(open('/proc/self/statm').read().split()[0])"
    pages = subprocess.run([sys.executable, "-c", code], cwd=EXPERIMENT.parent, capture_output=True, check=True).stdout
    return int(pages) * resource.getpagesize()
