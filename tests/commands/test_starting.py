"""The command line starts as `python experiment.py`, `python -m convmixer` and, if it is installed, `convmixer`."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import PROJECT

from convmixer import cli
from convmixer.project import command, is_same_program


def test_as_a_module() -> None:
    for words in (["-m", "convmixer"], [str(PROJECT / "convmixer" / "__main__.py")]):
        ended = subprocess.run([sys.executable, *words, "--version"], cwd=PROJECT, capture_output=True, text=True)
        assert ended.stdout.startswith("convmixer-lab") and ended.returncode == 0, ended.stderr


def test_as_an_installed_command() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"convmixer": "convmixer.cli:main"} and callable(cli.main)


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ("experiment.py", "python experiment.py"),
        ("/x/bin/convmixer", "convmixer"),
        ("/x/convmixer/__main__.py", "python -m convmixer"),
        ("mine.py", "python mine.py"),
    ],
)
def test_hints_show_the_command_that_was_used(started: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    assert command() == shown


def test_a_run_can_be_resumed_by_each_of_the_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/bin/convmixer"])
    assert is_same_program(Path("/y/experiment.py")) and is_same_program(Path("/y/convmixer/__main__.py"))
    assert not is_same_program(Path("/y/mine.py"))


def test_torchrun_starts_the_module_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/convmixer/__main__.py"])
    assert command("torchrun --nproc-per-node=2") == "torchrun --nproc-per-node=2 -m convmixer"


def test_help_imports_neither_torch_nor_rich() -> None:
    """They take most of the time, and help needs neither; `runs` needs no torch."""
    heavy = ("torch", "rich", "labml", "pandas", "optuna")
    for words, allowed in ((["--help"], []), (["runs", "--help"], []), (["runs"], ["rich"])):
        code = f"import sys; from convmixer.cli import main\ntry: main(None, {words})\nfinally: print(*sys.modules)"
        ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        imported = ended.stdout.splitlines()[-1].split()
        assert [name for name in heavy if name in imported and name not in allowed] == []
