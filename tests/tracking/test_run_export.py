"""`runs export`: what was recorded, read back from each kind of file."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from run_folders import make_run, points

from convmixer.tracking.run_folder import LOG
from convmixer.tracking.runs import Run


@pytest.fixture
def run(here: Path) -> Run:
    """A run of two steps; at the second a metric that is not finite."""
    found = Run(make_run(here / "logs", "a" * 32, valid=0.75))
    last = '{"track": {"loss.train": [[64, [NaN]]], "accuracy.valid": [[64, [0.75]]]}, "time": 1.0}\n'
    (found.folder / LOG).write_text(points(32) + last)
    return found


def test_csv_has_a_row_for_each_step(run: Run, call: Callable) -> None:
    call("runs", "export", "aaaa", "--csv", "run.csv")
    table = pd.read_csv("run.csv", index_col="step")
    pd.testing.assert_frame_equal(table, run.metrics)
    assert pd.read_csv(io.StringIO(call("runs", "export", "last", "--csv", "-").out)).step.tolist() == [32, 64]


def test_json_has_all_that_is_known(run: Run, call: Callable) -> None:
    call("runs", "export", "last", "--json", "run.json")
    content = json.loads(Path("run.json").read_text())
    assert content["run"] == run.uuid and content["status"] == "completed" and content["configs"] == {"epochs": 3}
    assert content["summary"]["accuracy.test"] == 0.5
    assert content["metrics"] == [
        {"step": 32, "loss.train": 3.2},
        {"step": 64, "loss.train": None, "accuracy.valid": 0.75},
    ]


def test_parquet_has_it_in_columns(run: Run, call: Callable) -> None:
    import pyarrow.parquet

    call("runs", "export", "last", "--parquet", "run.parquet", "--csv", "run.csv")
    assert Path("run.csv").exists()
    table = pyarrow.parquet.read_table("run.parquet")
    pd.testing.assert_frame_equal(table.to_pandas().set_index("step"), run.metrics)
    assert json.loads(table.schema.metadata[b"convmixer"])["summary"]["accuracy.valid"] == 0.75


def test_a_run_without_metrics_has_no_rows(run: Run, call: Callable) -> None:
    (run.folder / LOG).unlink()
    assert call("runs", "export", "last", "--csv", "-").out.split() == ["step"]
    call("runs", "export", "last", "--parquet", "run.parquet")
    assert pd.read_parquet("run.parquet").empty


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "runs export needs --csv FILE, --json FILE or --parquet FILE"),
        (["--csv", "nowhere/x.csv"], "--csv nowhere/x.csv: there is no folder nowhere"),
        (["--json", "logs"], "--json logs: is not an ordinary file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run: Run, refusal: Callable, words: list[str], expected: str) -> None:
    assert expected in refusal(["runs", "export", "last", *words])
