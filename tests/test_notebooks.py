"""The notebooks run from top to bottom on fresh runs."""

import nbformat
from conftest import PROJECT
from nbclient import NotebookClient


def outputs(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(str(out) for cell in notebook.cells for out in cell.get("outputs", []))


def test_monitor_shows_runs_curves_and_configs(command, tiny_run_overrides, tmp_path, monkeypatch) -> None:
    command(*tiny_run_overrides)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(PROJECT / "notebooks" / "monitor.ipynb", as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=120).execute()
    shown = outputs(notebook)
    assert "tiny-small" in shown and "completed" in shown
    assert "image/png" in shown  # the curves
    assert "accuracy.valid" in shown and "d_model" in shown
    assert "stderr" not in shown


def test_notebooks_are_committed_without_outputs() -> None:
    for file in (PROJECT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(file, as_version=4).cells
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), file.name


def test_monitor_shows_the_last_sweep(command, tiny_run_overrides, tmp_path, monkeypatch) -> None:
    narrow = [o for o in tiny_run_overrides if not o.startswith(("d_model", "epochs"))]
    command(
        "sweep", *narrow, "epochs=1", "d_model=4,8", "kernel_size=3,5", "--trials", "3", "--jobs", "2", "--name", "try"
    )
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(PROJECT / "notebooks" / "monitor.ipynb", as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=120).execute()
    shown = outputs(notebook)
    assert "complete" in shown and "there is no sweep" not in shown
    assert shown.count("image/png") == 3  # curves, importances, history
    assert "stderr" not in shown
