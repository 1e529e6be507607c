"""Run folders that hold nonsense, are huge, or unsound for a moment: the list and the other runs go on being shown."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dashboards import Dashboard, wait_until
from hypothesis import given
from hypothesis import strategies as st

from convmixer.dashboard.edits import EDITS, Edits
from convmixer.dashboard.followed_run import FollowedRun
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.json_values import MOST_EDITS, plain
from convmixer.dashboard.records import MODELS, list_item
from convmixer.dashboard.storage import Store

HUGE = 2**31  # bytes, of a file that takes no room on the disk


@pytest.fixture
def bad(dashboard: Dashboard) -> Iterator[Callable[[str], Path]]:
    """Makes a copy of the trained run, to be spoilt, and removes it."""
    made = []

    def make(name: str) -> Path:
        made.append(dashboard.copy_of(dashboard.run, name))
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder)
    wait_until(lambda: not {folder.name for folder in made} & dashboard.list().keys(), seconds=30)


def line(at: str) -> str:
    return '{"track": {"loss.train": [[1, [2.0]]]}, "time": ' + at + "}\n"


@pytest.mark.parametrize("at", ["NaN", "1e999", "-1e999", "1e300", "[]", '"soon"', "-5", "9" * 400])
def test_a_time_that_is_none(dashboard: Dashboard, bad: Callable[[str], Path], at: str) -> None:
    folder = bad("bad1")
    (folder / "log.jsonl").write_text(line(at))
    wait_until(lambda: "bad1" in dashboard.list(), seconds=30)
    assert dashboard.run in dashboard.list()
    assert dashboard.ask("GET", "/api/v1/run/status/bad1").status == 200
    assert dashboard.metrics("bad1")["loss.train"]


@pytest.mark.parametrize(
    "edits",
    [
        '{"name": "\\ud800"}',
        '{"comment": "\\udfff", "note": "\\ud800"}',
        '{"favourite_configs": ["\\ud800"]}',
        '{"CPUPreferences": {"chart_type": NaN}}',
        '{"title:accuracy": {"created_time": 1e999}}',
        '{"name": ' + "[" * 100_000,
        "null",
        "\0" * 100,
    ],
)
def test_edits_that_no_page_can_be_sent(dashboard: Dashboard, bad: Callable[[str], Path], edits: str) -> None:
    folder = bad("bad2")
    (folder / EDITS).write_text(edits)
    wait_until(lambda: "bad2" in dashboard.list(), seconds=30)
    assert dashboard.list()["bad2"]["name"] == "tiny-small"
    for path in ("run/bad2", "custom_metrics/bad2", "metrics/preferences/bad2", "cpu/preferences/bad2"):
        assert dashboard.ask("GET", f"/api/v1/{path}").status == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\ud800"}',
        b'{"note": "\\udfff"}',
        b'{"note": NaN}',
        b'{"favourite_configs": [1e999]}',
        b"[" * 120_000,
        b'{"a":' * 40_000,
        b'{"name": "\xff"}',
    ],
)
@pytest.mark.parametrize("path", ["run/{}", "custom_metrics/{}/create", "cpu/preferences/{}", "logs/stdout/{}/opt"])
def test_a_post_of_what_json_or_utf8_cannot_hold_is_refused(dashboard: Dashboard, path: str, body: bytes) -> None:
    answer = dashboard.ask("POST", f"/api/v1/{path.format(dashboard.run)}", body)
    assert answer.status == 400, answer.body[:200]
    assert dashboard.list()[dashboard.run]["name"] == "tiny-small"


def test_huge_files_keep_nobody_waiting(dashboard: Dashboard, bad: Callable[[str], Path]) -> None:
    folder = bad("bad3")
    for name in ("log.jsonl", EDITS, "console.log", "run_log.jsonl", "hardware.jsonl", "summary.json"):
        with open(folder / name, "ab") as file:
            file.truncate(HUGE)
    wait_until(lambda: "bad3" in dashboard.list(), seconds=30)
    began = time.monotonic()
    assert dashboard.list()["bad3"]["name"] == "tiny-small"
    assert time.monotonic() - began < 5  # read whole, they took 37 s
    dashboard.metrics("bad3")
    pages = dashboard.api("POST", "logs/stdout/bad3", {"page": -2})["pages"]
    assert f"{HUGE - 2**20:,} bytes before this" in pages["0"]
    memory = Path(f"/proc/{dashboard.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(memory) < 600_000  # KiB


def test_a_folder_that_is_unsound_for_a_moment_is_shown_again(dashboard: Dashboard, bad: Callable[[str], Path]) -> None:
    folder = bad("odd1")
    wait_until(lambda: "odd1" in dashboard.list(), seconds=30)
    for _ in range(2):
        os.mkfifo(folder / "pipe")
        wait_until(lambda: "odd1" not in dashboard.list(), seconds=30)
        assert dashboard.ask("GET", "/api/v1/run/odd1").status == 404
        assert dashboard.run in dashboard.list()
        (folder / "pipe").unlink()
        wait_until(lambda: "odd1" in dashboard.list(), seconds=30)
    os.rename(folder / "log.jsonl", folder / "aside")
    os.mkfifo(folder / "log.jsonl")  # which reading would wait for
    wait_until(lambda: "odd1" not in dashboard.list(), seconds=30)
    os.replace(folder / "aside", folder / "log.jsonl")
    wait_until(lambda: "odd1" in dashboard.list(), seconds=30)
    assert dashboard.metrics("odd1")


TEXT = st.text(st.characters(exclude_categories=()), max_size=5)  # halves of surrogate pairs too
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.dictionaries(
    st.sampled_from(["name", "comment", "note", "archived", "charts", "chart:", "comparison:", "title:accuracy"]), JSON
)
POINTS = st.dictionaries(TEXT, st.lists(st.tuples(JSON, st.lists(JSON, max_size=2)), max_size=3))


@given(FIELDS, st.lists(st.tuples(POINTS | JSON, JSON), max_size=3), JSON)
def test_whatever_a_folder_holds_the_list_can_be_sent(
    tmp_path_factory: pytest.TempPathFactory, edits: dict, lines: list, status: object
) -> None:
    folder = tmp_path_factory.mktemp("logs") / "try" / "a"
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text("name: \"a\\u0007b\"\ntrial_date: '2026-01-01'\ntrial_time: '10:00:00'\n")
    (folder / EDITS).write_text(json.dumps(edits))
    (folder / "log.jsonl").write_text("".join(json.dumps({"track": t, "time": at}) + "\n" for t, at in lines))
    (folder / "run_log.jsonl").write_text(json.dumps({"status": status, "time": 1.0}) + "\n")
    run = FollowedRun(folder)
    run.refresh()
    assert run.problem == ""
    sent = [list_item(run), MODELS["RunStatus"][0](run, ""), MODELS["MetricsPreferencesModel"][0](run, "")]
    json.dumps([*sent, run.start_time, run.last_recorded], allow_nan=False, ensure_ascii=False).encode()


@given(JSON)
def test_what_is_plain_can_be_sent(value: object) -> None:
    json.dumps(plain(value), allow_nan=False, ensure_ascii=False).encode()


def test_edits_that_cannot_be_written_are_not_shown_as_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = Edits(tmp_path)
    edits.set("name", "kept", None)
    with pytest.raises(ValueError, match="may have"):
        edits.set("note", "x" * MOST_EDITS, None)
    shutil.rmtree(tmp_path)
    with pytest.raises(OSError):
        edits.set("name", "lost", None)
    assert (edits.get("name", ""), edits.get("note", "")) == ("kept", "")


def test_looking_at_folders_writes_nothing(dashboard: Dashboard, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    shutil.copytree(dashboard.logs / "tiny-small", logs / "tiny-small")
    for folder in (*logs.rglob("*"), logs):
        if folder.is_dir():
            folder.chmod(0o555)
    (lock,) = logs.glob("*/*/.lock")
    before = {path: path.stat().st_mtime_ns for path in logs.rglob("*")}
    follower = Follower(logs, Store(tmp_path / "index.sqlite"))
    follower.look()
    (run,) = follower.runs.values()
    run.refresh()
    assert run.metrics.series and run.configs and lock.exists()
    assert {path: path.stat().st_mtime_ns for path in logs.rglob("*")} == before
