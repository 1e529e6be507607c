"""Images stay on disk where they would take more than half of the memory that is free."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROJECT

from convmixer.training import residence
from convmixer.training.residence import choose_residence, free_memory

CPU = torch.device("cpu")


def test_by_size_half_of_the_free_memory_is_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residence, "free_memory", lambda device: 2000)
    assert choose_residence(None, 1000, CPU).is_resident
    assert not choose_residence(None, 1001, CPU).is_resident
    assert choose_residence(True, 1001, CPU).is_resident
    assert not choose_residence(False, 1, CPU).is_resident


def test_where_the_free_memory_is_unknown_images_are_taken_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residence, "free_memory", lambda device: None)
    assert choose_residence(None, 10**15, CPU).is_resident


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells it")
def test_the_machine_has_some_memory_free() -> None:
    assert 10**7 < free_memory(CPU) < 10**14


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells it")
@pytest.mark.parametrize(("kind", "limit"), [("RLIMIT_DATA", 4 * 2**30), ("RLIMIT_AS", 30 * 2**30)])
def test_a_limit_of_the_process_counts(kind: str, limit: int) -> None:
    if resource.getrlimit(getattr(resource, kind))[1] != resource.RLIM_INFINITY:
        pytest.skip("this process is limited itself")
    code = (
        "import resource, torch; from convmixer.training.residence import free_memory\n"
        f"resource.setrlimit(resource.{kind}, ({limit}, -1))\n"
        "print(free_memory(torch.device('cpu')))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert 0 <= int(said) < limit


def test_the_limit_of_a_container_or_of_the_group_around_it_counts(tmp_path: Path, monkeypatch) -> None:
    """As version 2 of Linux's control groups says it; what files take of memory can be had back."""
    inner = tmp_path / "cgroup" / "job" / "step"
    inner.mkdir(parents=True)
    process = tmp_path / "proc"
    process.mkdir()
    (process / "cgroup").write_text("0::/job/step\n")
    for group, limit, used, files in ((inner, "max", 1000, 0), (inner.parent, "5000", 3000, 700)):
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 1\nfile {files}\n")
    monkeypatch.setattr(residence, "PROC", process)
    monkeypatch.setattr(residence, "CGROUPS", tmp_path / "cgroup")
    assert free_memory(CPU) == 5000 - 3000 + 700
