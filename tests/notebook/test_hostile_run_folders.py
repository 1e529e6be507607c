"""A notebook that watches run folders with nonsense in them goes on, and says in a line what is wrong."""

from pathlib import Path

import pytest
from run_folders import make_run, points

from convmixer.notebook.watch import Watch
from convmixer.tracking.runs import Run, all_runs

NONSENSE = {
    "zeros": b"\0" * 5000,
    "no points": b'{"track": 3}\n',
    "endless numbers": b'{"track": {"loss.train": [[1, [NaN]], [2, [1e999]]]}, "time": 1e999}\n',
    "html": b'{"track": {"<script>": [[1, ["<b>"]]]}, "time": 1}\n',
    "deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_a_run_with_a_log_of_nonsense_can_be_chosen(tmp_path: Path, nonsense: bytes) -> None:
    pytest.importorskip("ipywidgets")
    (make_run(tmp_path, "good", valid=0.5) / "log.jsonl").write_text(points(1, 2, 3))
    bad = make_run(tmp_path, "<bad>")
    (bad / "log.jsonl").write_bytes(nonsense)
    (bad / "run.yaml").write_text('name: "<script>\\e[31m$"\ntrial_date: "2026-01-01"\ntrial_time: "10:00:00"\n')
    watch = Watch([run for run in all_runs(tmp_path) if run.uuid == "good"])
    watch.widget = watch._build()
    watch._choose({"new": [str(bad)]})
    watch._choose({"new": [str(bad.with_name("good"))]})
    assert [run.uuid for run in watch.runs] == ["good"]
    assert watch.picture().startswith(b"\x89PNG")
    assert "<script>" not in watch._table.value and "\x1b" not in str(watch._list.options)


def test_a_log_of_two_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a")
    with open(folder / "log.jsonl", "wb") as log:
        log.truncate(2**31)
    with pytest.raises(Exception, match=r"log\.jsonl: line 1 is damaged"):
        _ = Run(folder).metrics
