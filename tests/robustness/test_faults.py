"""Real runs, disturbed on purpose: a few of each here; docs/faults.md has what came of many.

`python -m benchmarks.robustness.faults NAME` tries a fault: whatever happened, the run is resumed, and must end with
the bits of one that was left alone.
"""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import PROJECT

from benchmarks.robustness.faults.all import ALL
from benchmarks.robustness.faults.table import markdown, read_rows

Rows = dict[str, dict[str, str]]

# The exit status of the process that met the fault, and what it said.
EVERYDAY = {
    "last-bits": ("0", "the checkpoint is damaged (its SHA-256 does not match): resuming from previous.pt, of update"),
    "full-disk": ("1", "error: the disk is full ("),
    "two-processes": ("2", "another process is training this run"),
    "cuda-error": (
        "1",
        "error: CUDA error: an illegal memory access was encountered; resume from the last checkpoint with",
    ),
}
RARELY = {
    "last-and-previous": ("2", "error: all checkpoints of this run are damaged: "),
    "hang-up": ("129", ""),
    "not-finite": ("0", "the loss became nan within the last"),
    "no-home": ("0", ""),
    "broken-image": ("2", "image file is truncated"),
    "last-cut": ("0", "resuming from previous.pt, of update"),
    "best": ("0", ""),
    "cache": ("0", "is damaged and will be made again"),
    "read-only": ("1", "Read-only file system; resume from the last checkpoint with: python experiment.py resume"),
    "sigterm": ("143", "interrupted: resume from the last checkpoint with: python experiment.py resume"),
    "ctrl-c": ("130", "interrupted: resume from the last checkpoint with: python experiment.py resume"),
    "nohup": ("0", ""),
    "out-of-memory": ("1", "error: out of memory: "),
}
NEEDS_MOUNT = {"full-disk", "read-only"}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks, file systems and signals as Linux has them"),
]


@pytest.fixture(scope="module")
def try_out(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Rows]:
    """Runs `python -m benchmarks.robustness.faults ...` and returns its table."""

    def run(*arguments: object) -> Rows:
        folder = tmp_path_factory.mktemp("faults")
        table = folder / "faults.csv"
        command = [
            sys.executable,
            "-m",
            "benchmarks.robustness.faults",
            *map(str, arguments),
            "--csv",
            table,
            "--folder",
            folder,
        ]
        ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=1200)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return {row["fault"]: row for row in read_rows(table).values()}

    return run


def that_can_be_tried(faults: dict[str, tuple[str, str]]) -> list[str]:
    return [fault for fault in faults if os.geteuid() == 0 or fault not in NEEDS_MOUNT]


@pytest.fixture(scope="module")
def everyday(try_out: Callable[..., Rows]) -> Rows:
    return try_out(*that_can_be_tried(EVERYDAY), "--n", 1)


@pytest.fixture(scope="module")
def rarely(try_out: Callable[..., Rows]) -> Rows:
    return try_out(*that_can_be_tried(RARELY), "--n", 2)


def check(fault: str, rows: Rows, status: str, message: str) -> None:
    if fault not in rows:
        pytest.skip("only root may mount file systems")
    row = rows[fault]
    assert row["lost"] == "nothing"
    assert row["status"] == status
    assert message in row["message"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["power-cuts", "kills"])
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(fault, try_out) -> None:
    row = try_out(fault, "--n", 8, "--seed", 5)[fault]
    assert row["tried"] == "8" and row["lost"] == "nothing"


@pytest.mark.parametrize("fault", EVERYDAY)
def test_nothing_is_lost_and_it_is_said(fault: str, everyday: Rows) -> None:
    check(fault, everyday, *EVERYDAY[fault])


@pytest.mark.slow
@pytest.mark.parametrize("fault", RARELY)
def test_nothing_is_lost_and_it_is_said_here_too(fault: str, rarely: Rows) -> None:
    check(fault, rarely, *RARELY[fault])


def test_each_fault_is_in_the_table_that_is_shown() -> None:
    rows = read_rows(PROJECT / "results" / "faults.csv")
    assert {row["fault"] for row in rows.values()} == ALL.keys() == {"kills", "power-cuts", *EVERYDAY, *RARELY}
    for fault in ("kills", "power-cuts"):
        assert sum(int(row["tried"]) for row in rows.values() if row["fault"] == fault) >= 200
    assert {row["lost"] for row in rows.values()} == {"nothing"}
    assert markdown(rows, ALL) in (PROJECT / "docs" / "faults.md").read_text()
