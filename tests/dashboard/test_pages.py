"""What the pages are told, by a real server over real run folders."""

import base64
import json
import math
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dashboards import Dashboard, wait_until
from filelock import FileLock

from convmixer.dashboard.address import running_url
from convmixer.tracking.run_folder import LOCK, LOG


@pytest.fixture
def uuid(dashboard: Dashboard) -> str:
    """The run that was trained."""
    return dashboard.run


def numbers(text: str) -> list[float]:
    return np.frombuffer(base64.b64decode(text), "<f8").tolist()


def line(step: int, value: float, at: float | None = None, name: str = "loss.train") -> str:
    return json.dumps({"track": {name: [[step, [value]]]}, "time": at or time.time()}) + "\n"


def test_the_list_shows_a_run_with_its_comment_tags_status_and_results(dashboard: Dashboard, uuid: str) -> None:
    item = dashboard.list()[uuid]
    assert item["name"] == "tiny-small"
    assert item["comment"] == f"{uuid[:8]} · a first try · small · tiny"
    assert item["run_status"]["status"] == "completed"
    assert item["step"] == 630
    assert item["metric_values"][0]["name"] == "accuracy.test"
    given = {"label_smoothing", "d_model"}
    wait_until(lambda: {c["key"] for c in dashboard.list()[uuid]["favorite_configs"]} >= given)


def test_a_page_plots_losses_accuracies_learning_rate_and_speed_at_once(dashboard: Dashboard, uuid: str) -> None:
    series = dashboard.api("POST", f"metrics/{uuid}?current=", {"get_all": False})["series"]
    names = [s["name"] for s in series]
    charts = [dashboard.api("GET", f"metrics/preferences/{uuid}")["series_preferences"]]
    metrics = dashboard.api("GET", f"custom_metrics/{uuid}")["metrics"]
    in_order = sorted(metrics, key=lambda m: -m["created_time"])
    charts += [m["preferences"]["series_preferences"] for m in in_order]
    shown = [[name for name, choice in zip(names, chart, strict=True) if choice == 1] for chart in charts]
    assert [m["name"] for m in in_order] == ["Accuracy", "Learning rate", "Images per second"]
    assert shown == [
        ["loss.train", "loss.valid"],
        ["accuracy.train", "accuracy.valid"],
        ["optim.lr", "optim.muon_lr"],
        ["time.images_per_second"],
    ]
    full = {s["name"] for s in series if not s["is_summary"]}
    assert full == {name for names in shown for name in names}


def test_the_points_are_those_of_the_log(dashboard: Dashboard, uuid: str) -> None:
    (log,) = dashboard.logs.glob(f"*/{uuid}/{LOG}")
    recorded = [json.loads(text)["track"].get("loss.train") for text in log.read_text().splitlines()]
    shown = dashboard.metrics(uuid)["loss.train"]
    assert numbers(shown["step"]) == [points[0][0] for points in recorded if points]
    assert numbers(shown["value"]) == [points[0][1][0] for points in recorded if points]


def test_configs_that_were_set_or_are_hyperparameters_are_up_front(dashboard: Dashboard, uuid: str) -> None:
    run = dashboard.api("GET", f"run/{uuid}")
    assert {"label_smoothing", "d_model", "optimizer.learning_rate", "data.path"} <= set(run["selected_configs"])
    assert "device" not in run["selected_configs"]
    assert {c["key"]: c["computed"] for c in run["configs"]}["label_smoothing"] == 0.2
    assert run["tags"] == ["small", "tiny"]


def test_a_run_is_shown_with_the_table_that_it_ended_with(dashboard: Dashboard, uuid: str) -> None:
    (summary,) = dashboard.logs.glob(f"*/{uuid}/summary.json")
    results = dict(dashboard.api("GET", f"run/{uuid}")["results"])
    assert results["test accuracy"] == f"{json.loads(summary.read_text())['accuracy.test']:.2%}"
    assert {"valid accuracy", "epochs", "training time", "parameters"} <= results.keys()
    folder = dashboard.copy_of(uuid, "a6")
    (folder / "summary.json").write_text('{"accuracy.test": "high", "epochs": NaN, "seconds": true, "images": 7}')
    wait_until(lambda: "a6" in dashboard.list())
    assert dashboard.api("GET", "run/a6")["results"] in ([], [["training images", "7"]])


def test_console_output_in_pages_with_html_shown_as_it_is(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "a1")
    text = "<b>bold</b> & <script>alert(1)</script>\n" * 200
    (folder / "console.log").write_text(text)
    assert dashboard.api("POST", f"logs/stdout/{uuid}", {"page": -1})["pages"]["0"].startswith("run ")
    wait_until(lambda: "a1" in dashboard.list())
    pages = dashboard.api("POST", "logs/stdout/a1", {"page": -2})["pages"]
    assert "".join(pages[str(i)] for i in range(len(pages))) == text.replace("&", "&amp;").replace("<", "&lt;").replace(
        ">", "&gt;"
    )
    assert len(pages) == 5


def test_values_that_are_nan_are_gaps_and_break_no_page(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "a2")
    values = [math.nan, 3, math.nan, math.inf, 2, 1, math.nan]
    (folder / LOG).write_text("".join(line(step, value) for step, value in enumerate(values)))
    configs = (folder / "configs.yaml").read_text().replace("computed: 0.2", "computed: .nan")
    (folder / "configs.yaml").write_text(configs)
    wait_until(lambda: "a2" in dashboard.list())
    shown = dashboard.metrics("a2")["loss.train"]
    assert numbers(shown["step"]) == [1, 2, 3, 4, 5]
    assert numbers(shown["value"]) == [3, 3, 3, 2, 1]
    assert [math.isnan(step) for step in numbers(shown["last_step"])] == [False, True, True, False, False]
    run = dashboard.api("GET", "run/a2")
    assert {c["key"]: c["computed"] for c in run["configs"]}["label_smoothing"] == "nan"


def test_a_run_of_nothing_but_nan(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "a3")
    (folder / LOG).write_text(line(1, math.nan) + line(2, math.nan))
    wait_until(lambda: "a3" in dashboard.list())
    assert dashboard.metrics("a3")["loss.train"]["value"] == ""


def test_new_points_show_within_two_seconds_and_new_metrics_move_no_choice(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "a4")
    (folder / LOG).write_text(line(1, 2.0))
    wait_until(lambda: "a4" in dashboard.list())
    assert numbers(dashboard.metrics("a4")["loss.train"]["step"]) == [1]
    with open(folder / LOG, "a") as log:
        log.write(line(2, 1.5) + line(2, 0.5, name="accuracy.valid") + line(3, 1.0)[:20])
    wait_until(lambda: dashboard.list()["a4"]["step"] == 2, seconds=2)
    shown = dashboard.metrics("a4")
    assert numbers(shown["loss.train"]["value"]) == [2.0, 1.5]
    assert dashboard.api("GET", "metrics/preferences/a4")["series_preferences"] == [-1, 1]


def test_a_log_that_resume_wrote_anew_is_read_anew(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "a5")
    (folder / LOG).write_text(line(1, 3.0) + line(2, 2.0) + line(3, 1.0))
    wait_until(lambda: "a5" in dashboard.list())
    assert len(numbers(dashboard.metrics("a5")["loss.train"]["step"])) == 3
    (folder / "aside").write_text(line(1, 3.0) + line(2, 2.5))
    os.replace(folder / "aside", folder / LOG)
    assert numbers(dashboard.metrics("a5")["loss.train"]["value"]) == [3.0, 2.5]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("completed", "completed"),
        ("crashed", "crashed"),
        ("interrupted", "interrupted"),
        (None, "no response"),
    ],
)
def test_how_a_copied_run_ended(dashboard: Dashboard, uuid: str, ending: str | None, status: str) -> None:
    name = f"b{ending or 'none'}"
    folder = dashboard.copy_of(uuid, name)
    (folder / "summary.json").unlink()
    (folder / LOG).write_text(line(1, 2.0, at=time.time() - 3600))
    (folder / "run_log.jsonl").unlink()
    if ending:
        (folder / "run_log.jsonl").write_text(json.dumps({"status": ending, "time": time.time() - 3500}))
    assert wait_until(lambda: dashboard.list().get(name))["run_status"]["status"] == status


def test_a_run_is_running_while_a_process_holds_it_and_not_after(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "c1")
    (folder / "summary.json").unlink()
    (folder / "run_log.jsonl").write_text(json.dumps({"status": "interrupted", "time": 1.0}))

    def status() -> str:
        return dashboard.api("GET", "run/status/c1")["run_status"]["status"]

    with FileLock(folder / LOCK):
        wait_until(lambda: "c1" in dashboard.list())
        assert status() == "in progress"
        assert wait_until(lambda: dashboard.api("GET", "run/c1")["session_id"]) == "c1"
        computer = dashboard.api("GET", "session/c1")
        assert "training" in computer["comment"]
        for kind in ("cpu", "memory", "disk"):
            assert dashboard.api("GET", f"{kind}/c1")["series"], kind
        dashboard.api("GET", "memory/preferences/c1")
    assert status() == "no response"


def test_a_run_that_is_still_being_written_is_waited_for(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "c2")
    info = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text("")
    time.sleep(1.2)
    assert "c2" not in dashboard.list()
    (folder / "run.yaml").write_text(info)
    wait_until(lambda: "c2" in dashboard.list())


def test_a_run_that_is_deleted_is_gone(dashboard: Dashboard, uuid: str) -> None:
    folder = dashboard.copy_of(uuid, "c3")
    wait_until(lambda: "c3" in dashboard.list())
    shutil.rmtree(folder)
    wait_until(lambda: "c3" not in dashboard.list())
    assert dashboard.ask("GET", "/api/v1/run/c3").status == 404


def test_comparing_two_runs(dashboard: Dashboard, uuid: str) -> None:
    dashboard.copy_of(uuid, "c4")
    wait_until(lambda: "c4" in dashboard.list())
    preferences = dashboard.api("GET", "compare/preferences/c4")
    dashboard.api("POST", "compare/preferences/c4", preferences | {"base_experiment": uuid})
    for run in ("c4", uuid):
        series = dashboard.api("POST", f"compare/metrics/{run}?current=c4", {"get_all": False})["series"]
        assert [s["name"] for s in series if not s["is_summary"]] == ["loss.train", "loss.valid"]
    assert dashboard.api("GET", "compare/preferences/c4")["base_experiment"] == uuid


@pytest.mark.slow
def test_deleting_the_database_loses_nothing(
    dashboard: Dashboard, uuid: str, tmp_path: Path, start_dashboard: Callable[..., Dashboard]
) -> None:
    project = tmp_path / "project"
    folder = dashboard.logs / "tiny-small" / uuid
    shutil.copytree(folder, project / "logs" / "tiny-small" / uuid)
    first = start_dashboard(project)
    first.api("POST", f"run/{uuid}", {"name": "renamed", "note": "look at this", "comment": "#1"})
    chart = first.api("POST", f"custom_metrics/{uuid}/create", {"name": "Norms"})
    names = sorted(first.metrics(uuid))
    chart["preferences"]["series_preferences"] = [1 if n.startswith("norm.") else -1 for n in names]
    first.api("POST", f"custom_metrics/{uuid}", chart)
    first.api("POST", f"custom_metrics/{uuid}/delete", {"id": "learning_rate"})
    first.api("POST", "runs/archive", {"run_uuids": [uuid]})

    def seen(dashboard: Dashboard) -> list:
        charts = dashboard.api("GET", f"custom_metrics/{uuid}")["metrics"]
        run = dashboard.api("GET", f"run/{uuid}")
        archived = list(dashboard.list("archive"))
        return [run, charts, archived, list(dashboard.list()), dashboard.metrics(uuid)]

    before = seen(first)
    assert before[0]["name"] == "renamed"
    assert before[0]["comment"].endswith("#1")
    assert [c["name"] for c in before[1]] == ["Accuracy", "Images per second", "Norms"]
    assert (before[2], before[3]) == ([uuid], [])
    first.process.kill()
    first.process.wait()
    for file in project.glob("logs/dashboard.sqlite*"):
        file.unlink()
    assert seen(start_dashboard(project)) == before


def test_looking_leaves_no_trace_in_a_run(dashboard: Dashboard, uuid: str) -> None:
    (folder,) = dashboard.logs.glob(f"*/{uuid}")
    dashboard.metrics(uuid)
    dashboard.api("GET", f"compare/preferences/{uuid}")
    dashboard.api("POST", f"compare/metrics/{uuid}?current={uuid}", {"get_all": False})
    assert not (folder / "dashboard.json").exists()


@pytest.mark.slow
def test_a_killed_dashboard_and_a_damaged_database(tmp_path: Path, start_dashboard: Callable[..., Dashboard]) -> None:
    logs = tmp_path / "logs"
    killed = start_dashboard(tmp_path)
    assert running_url(logs, "abc") == f"{killed.url}/run/abc"
    killed.process.kill()
    killed.process.wait()
    assert (logs / ".dashboard.json").exists()
    assert running_url(logs, "abc") is None
    for file in logs.glob("dashboard.sqlite*"):
        file.write_bytes(b"not a database" * 1000)

    stopped = start_dashboard(tmp_path)
    assert stopped.list() == {}
    (mode,) = sqlite3.connect(logs / "dashboard.sqlite").execute("PRAGMA journal_mode").fetchone()
    assert mode == "wal"
    stopped.process.send_signal(signal.SIGINT)
    assert stopped.process.wait(timeout=60) == 130
    assert stopped.process.stderr.read().strip() == ""
    assert not (logs / ".dashboard.json").exists()


def test_it_opens_the_page_in_the_browser(tmp_path: Path, start_dashboard: Callable[..., Dashboard]) -> None:
    """A browser that stays until it has seen the page, as those in a terminal do."""
    browser = tmp_path / "browser"
    see = f"import urllib.request as r; open({str(tmp_path / 'seen')!r}, 'wb').write(r.urlopen(sys.argv[1]).read())"
    browser.write_text(f"#!{sys.executable}\nimport sys\n{see}\n")
    browser.chmod(0o755)
    dashboard = start_dashboard(tmp_path, "--open", BROWSER=f"{browser} %s")
    seen = wait_until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_bytes())
    assert seen == dashboard.ask("GET", "/").body and b"<html" in seen


def test_a_second_dashboard_of_the_same_runs_is_refused(dashboard: Dashboard, refusal: Callable, monkeypatch) -> None:
    monkeypatch.chdir(dashboard.project)
    assert f"another dashboard shows {dashboard.logs} already: {dashboard.url}" in refusal(["dashboard", "--port", "0"])


def test_a_port_that_is_taken(dashboard: Dashboard, here: Path, refusal: Callable) -> None:
    assert f"--port {dashboard.port}" in refusal(["dashboard", "--port", str(dashboard.port)])
