"""Where studies are kept: odd names, secrets, damage, locks, folders and disks that go away."""

import json
import os
import shutil
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import standin

from convmixer.errors import TrainingFault, UserError
from convmixer.sweeps import storage
from convmixer.sweeps.database import read_address, without_secrets
from convmixer.sweeps.report import table

ODD = ("what?now", "a%41b", "{x}", "a#b", "two words", "字", "a;b&c=1", os.fsdecode(b"lat\xe9in"))
SECRETS = (
    "postgresql://u:s3cret@127.0.0.1:1/d",
    "postgresql://127.0.0.1:1/d?user=u&password=s3cret",
    "postgresql://127.0.0.1:1/d?sslpassword=s3cret&sslmode=disable",
    "postgresql://u:s3cret@127.0.0.1:port/d",
    "postgresql://u:s3cret",
    "postgresql://u:p@s3cret@127.0.0.1:1/d",
    "nonsense s3cret",
    "postgresql://127.0.0.1:1/d?user=u&password=s3cret&no_such_option=s3cret",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ODD)
def test_a_project_in_a_folder_of_any_name_keeps_its_study_in_it(name: str, here: Path, monkeypatch) -> None:
    (here / name).mkdir()
    monkeypatch.chdir(here / name)
    standin.drive({"trials": 1, "name": "st%41u"})
    assert (here / name / "logs/sweeps/st%41u/study.db").exists() and os.listdir(here) == [name]
    assert len(storage.load("st%41u").trials) == 1


@pytest.mark.parametrize("url", SECRETS)
def test_no_secret_is_in_an_error_or_a_file(url: str, here: Path) -> None:
    with pytest.raises(UserError) as refused:
        standin.drive({"trials": 1, "storage": url})
    assert "--storage" in str(refused.value) and "s3cret" not in str(refused.value)
    for file in here.rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes()


def test_the_address_is_kept_without_them() -> None:
    address = read_address("postgresql://u:s3cret@h:5/d?password=s3cret&sslmode=require&passfile=p&sslPassword=s3cret")
    kept = without_secrets(address).render_as_string(hide_password=False)
    assert kept == "postgresql+psycopg://u@h:5/d?passfile=p&sslmode=require"


def test_that_a_password_is_in_the_list_of_processes_is_said(monkeypatch, caplog) -> None:
    in_memory = storage.open_database(read_address("sqlite://"))
    monkeypatch.setattr(storage, "open_database", lambda address: in_memory)  # PostgreSQL need not be there
    for url in ("postgresql://u@127.0.0.1:1/d", "postgresql://u:s3cret@127.0.0.1:1/d"):
        storage.reach(url)
    (said,) = (message for message in caplog.messages if message.startswith("--storage"))
    assert "all users of this machine can see a password there" in said


@pytest.mark.parametrize("name", ["", "a" * 256, "字" * 86, "a/b", ".hidden", "a\nb"])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^--name .*: expected a name that can be a folder's: at most 255 bytes"):
        storage.check_name(name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"storage": 3}', b"{}", b"\xff"])
def test_one_damaged_study_is_named_and_the_others_are_listed(content: bytes, here: Path, call) -> None:
    for name in ("good", "bad", "fine"):
        standin.drive({"trials": 1, "name": name, "space": {"x": "0.1,0.2"}})
    (here / "logs/sweeps/bad/study.json").write_bytes(content)
    lines = dict(line.split(": ", 1) for line in call("sweep", "list").out.splitlines())
    assert lines.keys() == {"good", "bad", "fine"}
    assert "1 complete" in lines["good"] and "1 complete" in lines["fine"]
    assert "bad/study.json: " in lines["bad"]
    standin.drive({"trials": 1, "name": "bad", "space": {"x": "0.1,0.2"}})  # the same command mends it
    assert "1 complete" in call("sweep", "list").out.split("bad: ")[1]


def test_a_database_with_another_s_content_is_named_in_the_list(here: Path, call) -> None:
    for name in ("good", "bad"):
        standin.drive({"trials": 2, "name": name, "space": {"x": "0.1,0.2"}})
    with sqlite3.connect(here / "logs/sweeps/bad/study.db") as database:
        database.execute("UPDATE trial_params SET distribution_json = '{'")
    listed = call("sweep", "list").out
    assert "good: maximize" in listed and "bad: sweep bad: its database can't be read: Expecting" in listed


def test_a_locked_database_is_waited_for_and_that_is_said(here: Path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "1")
    done = threading.Event()

    def lock() -> None:
        while not any(here.glob("logs/standin/*/log.jsonl")):
            time.sleep(0.02)
        database = sqlite3.connect(here / "logs/sweeps/standin/study.db", isolation_level=None, timeout=30)
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(8)  # longer than SQLite itself waits
        database.execute("ROLLBACK")
        database.close()
        done.set()

    threading.Thread(target=lock).start()
    standin.drive({"trials": 3, "sampler": "random"})
    assert done.is_set()
    assert list(table(storage.load("standin"))["state"]) == ["complete"] * 3
    said = [record.getMessage() for record in caplog.records]
    assert "the study's database can't be used now: database is locked; waiting" in said
    assert said[-1] == "the study's database can be used again"


@pytest.mark.slow
def test_one_that_stays_locked_ends_the_sweep_in_one_line(here: Path, monkeypatch) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "30")
    monkeypatch.setattr("convmixer.sweeps.database.PATIENCE", 0.1)

    class LocksIt:
        def ended(self, trial: object) -> None: ...

        def looked(self, active: list) -> None:
            if active[0].has_begun and not hasattr(self, "database"):
                self.database = sqlite3.connect(here / "logs/sweeps/standin/study.db", isolation_level=None)
                self.database.execute("BEGIN EXCLUSIVE")
                monkeypatch.setenv("STANDIN_SECONDS", "0")

    watcher = LocksIt()
    with pytest.raises(TrainingFault, match=r"^the study's database can't be used: database is locked; the sweep was"):
        standin.drive({"trials": 2, "jobs": 1, "watcher": watcher, "space": {"fate": "killed,ok"}, "sampler": "grid"})
    watcher.database.close()
    standin.drive({"trials": 2, "jobs": 1, "space": {"fate": "killed,ok"}, "sampler": "grid"})
    assert list(table(storage.load("standin"))["state"]) == ["failed", "complete"]


@pytest.mark.parametrize("is_moved", [False, True])
def test_a_study_whose_folder_goes_away_ends_with_one_line(is_moved: bool, here: Path, monkeypatch) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "30")

    class TakesItAway:
        def ended(self, trial: object) -> None: ...

        def looked(self, active: list) -> None:
            folder = here / "logs/sweeps/standin"
            if folder.exists() and all(a.has_begun for a in active):
                folder.rename(here / "elsewhere") if is_moved else shutil.rmtree(folder)

    with pytest.raises(TrainingFault, match=r"^the sweep's folder \S+/standin was removed or moved .* stopped$"):
        standin.drive({"trials": 4, "watcher": TakesItAway()})
    assert not (here / "logs/sweeps/standin").exists()


def test_a_report_that_cannot_be_written_is_one_line(here: Path) -> None:
    standin.drive({"trials": 1, "space": {"x": "0.1,0.2"}})
    (here / "logs/sweeps/standin/trials.csv").mkdir()
    with pytest.raises(TrainingFault, match=r"trials.csv: can't be written: is not an ordinary file"):
        standin.drive({"trials": 1, "space": {"x": "0.1,0.2"}, "report": True})
    assert json.loads((here / "logs/sweeps/standin/study.json").read_text()) == {"storage": None}
