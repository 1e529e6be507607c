"""The field of a run's page that changes values while the run trains: what the server answers to it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest
from conftest import EXPERIMENT, metrics_saved, wait_for
from dashboards import Dashboard, wait_until


class Training:
    """A run that trains, and a dashboard that shows it."""

    def __init__(self, dashboard: Dashboard, uuid: str) -> None:
        self.dashboard, self.uuid = dashboard, uuid
        (self.folder,) = dashboard.logs.glob(f"*/{uuid}")

    def card(self) -> dict:
        return self.dashboard.api("GET", f"live/{self.uuid}")

    def set(self, key: str, value: str) -> str:
        """Ask for a change, and return why it is refused; nothing if it is not."""
        return self.dashboard.api("POST", f"live/{self.uuid}", {"key": key, "value": value})["refusal"]


@pytest.fixture(scope="module")
def training(tmp_path_factory, tiny_run_overrides, start_dashboard) -> Iterator[Training]:
    """A long run that trains now."""
    project = tmp_path_factory.mktemp("live")
    words = [word for word in tiny_run_overrides if not word.startswith("epochs")]
    process = Popen([sys.executable, EXPERIMENT, *words, "epochs=100000"], cwd=project, stdout=DEVNULL)
    try:
        dashboard = start_dashboard(project)
        wait_for(lambda: metrics_saved(project / "logs") > 1 and dashboard.list(), process, seconds=300)
        yield Training(dashboard, next(iter(dashboard.list())))
    finally:
        process.kill()
        process.wait()


def test_the_card_offers_what_set_changes_with_the_values_now(training: Training) -> None:
    wait_until(lambda: "steps" in training.card()["keys"], seconds=60)  # the configs are read
    keys = training.card()["keys"]
    assert keys["optimizer.learning_rate"] == "0.01" and keys["steps"] == "none" and keys["stop"] == "false"
    assert "augment.translate" in keys and "augment.cutout" not in keys  # which augment.ops does not name
    assert not {"d_model", "augment.ops"} & keys.keys()


def test_a_change_is_made_recorded_and_shown_with_its_update(training: Training) -> None:
    assert training.set("optimizer.learning_rate", "0.004") == ""
    (change,) = wait_until(lambda: training.card()["changes"], seconds=120)
    assert change.startswith("from update ") and change.endswith(" on: optimizer.learning_rate=0.004 (was 0.01)")
    assert training.card()["waiting"] == []
    assert training.card()["keys"]["optimizer.learning_rate"] == "0.004"
    configs = {c["key"]: c["computed"] for c in training.dashboard.api("GET", f"run/{training.uuid}")["configs"]}
    assert configs["optimizer.learning_rate"].startswith("0.004 from update ")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optimizer.learning_rate", "fast", "optimizer.learning_rate=fast is wrong, expected a number above 0"),
        ("d_model", "16", "d_model can't be changed after training has begun; only"),
        ("augment.cutout", "8", "augment.cutout is given, but augment.ops does not name cutout"),
        ("augment.translate", "4000", "does not fit images of"),
        ("stop", "perhaps", "stop=perhaps is wrong, expected true or false"),
        ("label_smoothing", "\ud83d\ude00 <b>", "label_smoothing=\U0001f600 <b> is wrong"),
    ],
)
def test_a_wrong_value_gets_one_line_and_is_not_asked_for(
    training: Training, key: str, value: str, expected: str
) -> None:
    file = training.folder / "requests.jsonl"
    before = file.read_bytes() if file.exists() else b""
    refusal = training.set(key, value)
    assert expected in refusal and "\n" not in refusal and "command line" not in refusal
    assert (file.read_bytes() if file.exists() else b"") == before


@pytest.mark.parametrize("body", [{}, {"key": "epochs"}, {"key": "epochs", "value": 3}, [], b"{", b"\xff"])
def test_a_malformed_request_is_refused(training: Training, body) -> None:
    assert training.dashboard.ask("POST", f"/api/v1/live/{training.uuid}", body).status == 400


def test_another_site_s_page_changes_nothing(training: Training) -> None:
    body = {"key": "stop", "value": "true"}
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Content-Type": "text/plain"}):
        answer = training.dashboard.ask("POST", f"/api/v1/live/{training.uuid}", body, headers)
        assert answer.status in (403, 415, 421)
    assert training.card()["is_open"]


def test_a_run_that_has_ended_shows_its_changes_and_takes_none(training: Training) -> None:
    ended = Path(shutil.copytree(training.folder, training.folder.parent / "ended"))
    change = '{"update": 7, "key": "label_smoothing", "value": 0.2, "was": 0.1, "request": 1}\n'
    (ended / "changes.jsonl").write_text(change)
    wait_until(lambda: "ended" in training.dashboard.list())
    there = Training(training.dashboard, "ended")
    assert there.card()["changes"] == ["from update 7 on: label_smoothing=0.2 (was 0.1)"]
    assert there.card()["keys"] == {} and not there.card()["is_open"]
    assert there.set("stop", "true") == "this run does not train now"
    (ended / "changes.jsonl").write_text('{"update": 7, "key": "a", "value": "\\ud800", "was": 0, "request": 1}\n')
    wait_until(lambda: there.card()["changes"] == ["from update 7 on: a=\\ud800 (was 0)"])
    (ended / "changes.jsonl").write_text("{")
    wait_until(lambda: there.card()["changes"] == [])


def test_a_folder_that_can_not_be_written_is_said(training: Training) -> None:
    file = training.folder / "requests.jsonl"
    file.touch()
    if os.geteuid() != 0 or subprocess.run(["chattr", "+i", file], capture_output=True).returncode:
        pytest.skip("only root, and not on every file system, may make a file that nobody can change")
    try:
        body = {"key": "label_smoothing", "value": "0.3"}
        answer = training.dashboard.ask("POST", f"/api/v1/live/{training.uuid}", body)
    finally:
        subprocess.run(["chattr", "-i", file], check=True)
    assert answer.status == 507 and "this can't be kept" in answer.json()["error"]
