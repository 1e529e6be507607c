"""README's "your own layer in ten lines": every command works from the user's own script."""

import re
import signal
from pathlib import Path

import pytest
from conftest import PROJECT, metrics_saved, wait_for
from run_folders import only_run

from convmixer.tracking.runs import all_runs


def readme_script() -> str:
    """The Python block of README below "Your own layer"."""
    section = (PROJECT / "README.md").read_text().split("## Your own layer")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    script = tmp_path / "mine.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n" + readme_script())
    return script


def test_it_is_ten_lines() -> None:
    blocks = readme_script().split("\n\n\n")
    assert [block.split()[0] for block in blocks] == ["from", "class", "class", "@option(MyConfigs.layer)", "if"]
    layer_and_option = [line for block in blocks[1:4] for line in block.splitlines() if line.strip()]
    assert len(layer_and_option) <= 11


def test_it_trains_resumes_and_is_evaluated(command, mine, tiny, tiny_run_overrides, tmp_path) -> None:
    said = command(*tiny_run_overrides, "share=0.5", "seeds=2", script=mine).stdout
    first, _ = all_runs(tmp_path / "logs")
    own = "mine.py: layer=second_residual share=0.5"
    assert f"script  {own}\n" in said and (first.folder / "script.py").read_text() == mine.read_text()
    assert first.summary["own"] == {"layer": "second_residual", "share": 0.5}
    assert "mine.py layer=second_residual share=0.5" in command("runs").stdout  # from any script
    command("export", first.uuid, "--output", "w.safetensors", script=mine)
    assert f"| script | {own} |" in (tmp_path / "w.md").read_text()
    assert first.configs["layer"] == "second_residual" and first.configs["share"] == 0.5
    accuracy = f"test accuracy {first.summary['accuracy.test']:.2%}"
    assert accuracy in command("evaluate", first.uuid, script=mine).stdout
    image = tiny / "test" / "red" / "0.png"
    assert command("predict", first.uuid, image, script=mine).stdout.startswith("file,class,")
    assert (
        "is defined in another script: run that script instead"
        in command("predict", first.uuid, image, status=2).stderr
    )
    assert "share" in command("configs", script=mine).stdout
    assert "did you mean share?" in command("shaer=2", script=mine, status=2).stderr
    other_script = command("evaluate", first.uuid, status=2).stderr
    assert f"use python {mine} evaluate" in other_script


def test_it_is_resumed(command, start, mine, tiny_run_overrides, tmp_path) -> None:
    overrides = [o for o in tiny_run_overrides if not o.startswith("epochs")]
    process = start(*overrides, "steps=400", script=mine)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 5, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    mine.write_text(mine.read_text() + "# edited\n")
    said = command("resume", "last", script=mine).stdout
    assert "mine.py has changed since this run began" in said and "resumes after update" in said
    assert not (only_run(tmp_path).folder / "script.py").read_text().endswith("# edited\n")
    (resumed,) = all_runs(tmp_path / "logs")
    assert resumed.status == "completed" and resumed.summary["steps"] == 400
