"""Threads that wait for each other sleep soon, unless the user has said otherwise."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PROJECT

from convmixer.training.openmp import spin_briefly


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment without settings of OpenMP's."""
    for name in [name for name in os.environ if name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is taken back afterwards
    monkeypatch.delenv("GOMP_SPINCOUNT")
    return os.environ


def test_threads_sleep_soon_where_they_wait(environment) -> None:
    assert spin_briefly() and environment["GOMP_SPINCOUNT"] == "1000"


def test_a_number_of_threads_says_nothing_of_how_they_wait(environment, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert spin_briefly() and environment["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_the_users_own_settings_win(environment, monkeypatch, name: str) -> None:
    monkeypatch.setenv(name, "0")
    assert not spin_briefly() and environment.get("GOMP_SPINCOUNT") in (None, "0")


def test_it_is_said_before_torch_is_loaded(command: Callable, tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    script.write_text(
        "import sys, convmixer.cli as cli\nassert 'torch' not in sys.modules\nprint(cli.spin_briefly())\n"
    )
    assert command(script=script, PYTHONPATH=str(PROJECT)).stdout in ("True\n", "False\n")
