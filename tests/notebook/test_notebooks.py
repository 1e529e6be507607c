"""The notebooks run from top to bottom on fresh runs, and can be written as pages."""

from pathlib import Path

import nbformat
import pytest
from conftest import PROJECT

from notebooks.render import ABSOLUTE, as_markdown, executed


def outputs(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(str(out) for cell in notebook.cells for out in cell.get("outputs", []))


def test_monitor_shows_runs_curves_and_configs(command, tiny_run_overrides, tmp_path) -> None:
    command(*tiny_run_overrides)
    shown = outputs(executed("monitor", {"names": ["last", "best"]}, tmp_path))
    assert "tiny-small" in shown and "completed" in shown
    assert shown.count("image/png") == 2  # to watch, and to compare
    assert shown.count("widget-view+json") == 2  # to watch, and to start a run
    assert "accuracy.valid" in shown and "d_model" in shown
    assert shown.count("'stderr'") == 1 and "best: run" in shown  # which of all runs is meant


def test_monitor_before_any_run_says_start_a_run(tmp_path) -> None:
    shown = outputs(executed("monitor", {}, tmp_path))
    assert "Start a run" in shown
    assert "Traceback" not in shown and "image/png" not in shown and "stderr" not in shown


@pytest.mark.slow
def test_anatomy_shows_what_a_run_learned(command, tiny_run_overrides, tmp_path) -> None:
    trained = command(*tiny_run_overrides).stdout
    notebook = executed("anatomy", {}, tmp_path)
    shown = outputs(notebook)
    (accuracy,) = (line.split()[2] for line in trained.splitlines() if line.startswith("test accuracy"))
    assert f"{accuracy} of 60 test images are correct" in shown
    assert "stderr" not in shown

    page = as_markdown("anatomy", notebook, tmp_path / "docs").read_text()
    pictures = list((tmp_path / "docs" / "anatomy").glob("*.png"))
    assert len(pictures) == shown.count("image/png") == 8
    assert all(f"](anatomy/{picture.name})" in page for picture in pictures)
    assert "import sys" not in page


def test_notebooks_are_committed_without_outputs() -> None:
    notebooks: list[Path] = [*(PROJECT / "notebooks").glob("*.ipynb")]
    assert len(notebooks) == 2
    for file in notebooks:
        cells = nbformat.read(file, as_version=4).cells
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), file.name


def test_monitor_shows_the_last_sweep(command, tiny_run_overrides, tmp_path) -> None:
    short = [o for o in tiny_run_overrides if not o.startswith("epochs")]
    rates = ["optimizer.optimizer=AdamW", "starts=[]", "optimizer.learning_rate=1e-6,1e-2"]  # which differ in the end
    command("sweep", *short, "epochs=1", *rates, "--sampler", "grid", "--trials", "2", "--jobs", "2", "--name", "try")
    shown = outputs(executed("monitor", {}, tmp_path))
    assert "complete" in shown and "there is no sweep" not in shown
    assert shown.count("image/png") == 4  # curves twice, importances, history
    assert "stderr" not in shown


def test_rendered_pages_name_no_path_of_this_machine() -> None:
    text = "given data.path=/home/me/cifar10-jpeg epochs=3; see [it](docs/monitor/a.png), https://a.org/b/c, 44/10 m/s"
    assert ABSOLUTE.sub(r"\1", text) == text.replace("/home/me/", "")
