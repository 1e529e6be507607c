"""The device that is chosen, and what the allocator setting does to a process of its own."""

import platform
import re
import subprocess
import sys

import pytest
import torch

from convmixer.errors import UserError
from convmixer.training.hardware import choose_device, describe_device, keep_freed_memory


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_takes_the_best_device():
    best = "cpu"
    if torch.backends.mps.is_available():
        best = "mps"
    if torch.cuda.is_available():
        best = "cuda"
    assert choose_device("auto").type == best


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cuda:-1", "tpu", "", "CPU", "meta"])
def test_a_device_that_is_not_here_is_named_with_those_that_are(name):
    with pytest.raises(UserError, match=re.escape(f"device={name} is not available") + r".*\bcpu\b") as error:
        choose_device(name)
    assert "\n" not in str(error.value)


def test_the_cpu_is_described_by_its_threads():
    line = describe_device(torch.device("cpu"))
    n = torch.get_num_threads()
    ending = ", 1 thread" if n == 1 else f", {n} threads"
    assert line.endswith(ending) and "\n" not in line
    assert len(line) > len(ending)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_is_described_by_its_memory():
    line = describe_device(choose_device("cuda:0"))
    assert re.fullmatch(r".+, \d+ GiB", line)


# Prints how many pages the kernel hands out in a step once the heap has grown: the fewest of five.
COUNT_PAGE_FAULTS = """
import resource, sys, torch
from convmixer.model.variants import conv_mixer
from convmixer.training.hardware import keep_freed_memory

def page_faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_freed_memory()
model, images = conv_mixer(32, 1, 3, 2), torch.rand(1200, 3, 32, 32)
print(min(page_faults_of_a_step() for _ in range(5)))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_that_is_kept_need_not_be_fetched_again():
    faults = {}
    for how in ("keep", "return"):
        command = [sys.executable, "-c", COUNT_PAGE_FAULTS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    # An activation, 1200 * 32 * 16 * 16 floats, is 9600 pages of 4 KiB. A step makes ten or so.
    assert faults["return"] > 20_000
    assert faults["keep"] < faults["return"] / 10


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="this machine has no Apple GPU")
def test_apple_s_gpu_trains_and_evaluates(call, tiny_run_overrides, here):
    said = call(*tiny_run_overrides, "device=mps", "metrics=[top_5]").out
    assert "GPU (MPS)" in said and "test accuracy" in said
    assert "accuracy" in call("evaluate", "last", "device=mps").out
