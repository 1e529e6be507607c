"""`python experiment.py sweep ...`: a real sweep of real runs, and all that shows it."""

import io
import re
import shlex
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import wait_for

from convmixer.cli import main
from convmixer.tracking.runs import Run, all_runs


@pytest.fixture
def sweep_words(tiny_run_overrides: list[str]) -> list[str]:
    rest = [o for o in tiny_run_overrides if not o.startswith(("d_model", "epochs"))]
    return ["sweep", *rest, "epochs=2", "d_model=8,12", "optimizer.learning_rate=log(1e-3,3e-2)", "device=cpu"]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `python experiment.py ...` prints; in this process, as it trains nothing."""

    def run(*words: str) -> str:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            main(arguments=list(words))
        assert end.value.code == 0
        return capsys.readouterr().out

    return run


def named_run(folder: Path, uuid: str) -> Run:
    (found,) = (folder / "logs").glob(f"*/{uuid}*")
    return Run(found)


def test_a_sweep_of_real_runs(command, said, start, sweep_words, tmp_path) -> None:
    first = command(*sweep_words, "--trials", "2", "--jobs", "2", "--sampler", "random").stdout
    assert len(re.findall(r"^trial +\d+ complete", first, re.MULTILINE)) == 2
    assert "2 complete, 0 pruned, 0 failed" in first

    # The same command with more trials goes on; the runs are ordinary ones.
    output = command(*sweep_words, "--trials", "3", "--jobs", "2", "--sampler", "random").stdout
    assert len(re.findall(r"^trial +\d+ ", output, re.MULTILINE)) == 1
    (name,) = [f.name for f in (tmp_path / "logs/sweeps").iterdir()]
    runs = all_runs(tmp_path / "logs")
    assert len(runs) == 3 and all(r.status == "completed" for r in runs)
    assert all(f"sweep:{name}" in r.info["tags"] for r in runs)
    assert all(r.given["seed"] == 0 and r.given["recipe"] == "small" for r in runs)

    # The table agrees with the runs, and says nothing of the test split.
    rows = pd.read_csv(io.StringIO(said("sweep", "show", name, "--csv", "-")))
    for row in rows.itertuples():
        run = named_run(tmp_path, row.runs)
        assert row.value == run.summary["accuracy.valid"] and row.d_model == run.configs["d_model"]
    assert not any("test" in column for column in rows.columns)

    # The page needs nothing else, and the pictures are there.
    shown = said("sweep", "show")
    folder = tmp_path / "logs" / "sweeps" / name
    page = (folder / "report.html").read_text()
    assert "Plotly.newPlot" in page and not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    for picture in ("history", "parallel", "slices", "epochs"):
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert "importance: " in shown and "3 complete" in said("sweep", "list")

    # The command that it names trains the best trial again, to the same bits.
    words = shlex.split(re.search(r"^the best again: python (.*)$", shown, re.MULTILINE)[1])
    command(*words[1:])
    again, best = all_runs(tmp_path / "logs")[-1], rows.loc[rows["value"].idxmax()]
    assert again.summary["accuracy.valid"] == best["value"]

    # Optuna's dashboard, on loopback.
    dashboard = start("sweep", "dashboard", name, "--port", "18471")
    line = dashboard.stdout.readline()
    wait_for(lambda: _get("http://127.0.0.1:18471/api/studies"), dashboard)
    assert name in _get("http://127.0.0.1:18471/api/studies")
    assert "http://127.0.0.1:18471/" in line and "<html" in _get(re.search(r"http\S+", line)[0])


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def test_a_real_run_that_diverges_fails_with_its_line(command, sweep_words, tmp_path) -> None:
    hot = ["optimizer.optimizer=SGD", "gradient_clip=none", "schedule=constant"]
    words = [w for w in sweep_words if not w.startswith(("d_model", "optimizer"))]
    space = ["d_model=8", "optimizer.learning_rate=0.01,100"]
    output = command(*words, *hot, *space, "--sampler", "grid", "--jobs", "2").stdout
    assert re.search(r"trial +1 failed +(the loss|a weight) became (nan|inf).*trials/0001.log:\d+", output)
    assert "1 complete, 1 failed; best" in output


@pytest.mark.slow
def test_a_real_sweep_killed_at_random_moments_goes_on_to_its_end(command, start, sweep_words, tmp_path) -> None:
    import random
    import sys
    import time

    sys.path.insert(0, str(Path(__file__).parent))
    from test_driver import kill_all

    words = [w for w in sweep_words if not w.startswith(("epochs", "train_batch_size"))]
    words += ["epochs=30", "train_batch_size=16", "--trials", "4", "--jobs", "2", "--sampler", "random", "--quiet"]
    moments = random.Random(1)
    for _ in range(4):
        process = start(*words)
        time.sleep(5 + 10 * moments.random())
        kill_all(process)
    command(*words)
    runs = all_runs(tmp_path / "logs")
    assert len(runs) == 4 and all(r.status == "completed" for r in runs)
    for run in runs:
        accuracies = run.metrics["accuracy.valid"].dropna()
        assert len(accuracies) == 30 and accuracies.index.is_unique
    shown = pd.read_csv(io.StringIO(command("sweep", "show", "--csv", "-").stdout))
    assert list(shown["state"]) == ["complete"] * 4
