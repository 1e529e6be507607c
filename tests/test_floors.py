"""The package's layout: floors, of which each imports lower ones only (docs/data-flow.md)."""

import subprocess
import sys
from pathlib import Path

from conftest import PROJECT


def lint(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_imports_go_downwards_only() -> None:
    ended = lint(PROJECT)
    assert ended.returncode == 0 and "0 broken" in ended.stdout, ended.stdout


def test_an_import_that_goes_up_is_found_also_within_a_function_and_for_types(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text())
    for file in (PROJECT / "convmixer").rglob("*.py"):
        copy = tmp_path / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    hidden = "\n\ndef hidden():\n    from convmixer import cli\n\n    return cli\n"
    typed = "\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from convmixer.trained import Trained\n"
    (tmp_path / "convmixer/files/atomic.py").write_text((PROJECT / "convmixer/files/atomic.py").read_text() + hidden)
    (tmp_path / "convmixer/errors.py").write_text((PROJECT / "convmixer/errors.py").read_text() + typed)
    ended = lint(tmp_path)
    assert ended.returncode == 1
    assert "convmixer.files.atomic -> convmixer.cli" in ended.stdout
    assert "convmixer.errors -> convmixer.trained" in ended.stdout


def test_few_modules_lie_outside_of_a_package() -> None:
    loose = {file.name for file in (PROJECT / "convmixer").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert loose == {"cli.py", "console.py", "errors.py", "project.py"}
