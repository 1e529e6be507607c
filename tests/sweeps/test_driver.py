"""The driver of sweeps, with cheap runs that fail, die and resume as real ones do: all is there once, whatever dies."""

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import standin

from convmixer.errors import Interrupted, TrainingFault, UserError
from convmixer.sweeps import storage
from convmixer.sweeps.report import best_command, table
from convmixer.tracking.run_folder import read_log


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def swept(**settings: object) -> optuna.Study:
    standin.drive(settings)
    return storage.load("standin")


def states(study: optuna.Study) -> list[str]:
    return list(table(study)["state"])


def test_trials_is_a_total_over_all_starts() -> None:
    assert states(swept(trials=3)) == ["complete"] * 3
    assert states(swept(trials=5)) == ["complete"] * 5
    assert states(swept(trials=5)) == ["complete"] * 5


def test_every_trial_is_a_run_with_its_own_folder_and_output(here) -> None:
    study = swept(trials=3, space={"x": "0.1,0.3,0.9"}, sampler="grid")
    for trial in study.trials:
        (uuid,) = trial.user_attrs["runs"]
        settings = json.loads((here / "logs/standin" / uuid / "settings.json").read_text())
        assert float(settings["x"]) == trial.params["x"] and settings["seed"] == "0"
        assert (here / f"logs/sweeps/standin/trials/{trial.number:04}.log").read_text().startswith("$ train x=")
    assert study.best_params == {"x": 0.3}
    assert study.best_value == pytest.approx(0.98)
    assert best_command(study) == "python standin.py x=0.3 seed=0"


def test_a_grid_is_every_point_once_over_restarts() -> None:
    space = {"x": "0.1,0.3", "fate": "ok,nan if x=0.3"}
    swept(trials=1, space=space, sampler="grid")
    study = swept(trials=100, space=space, sampler="grid")
    points = [tuple(t.params.values()) for t in study.trials]
    assert points == [(0.1,), (0.3, "ok"), (0.3, "nan")]


def test_what_goes_wrong_fails_its_trial_with_reason_and_line_and_the_sweep_goes_on() -> None:
    study = swept(trials=5, space={"fate": "ok,nan,crash,killed,silent"}, sampler="grid")
    rows = table(study).set_index("fate")
    assert dict(rows["state"]) == {"ok": "complete", **dict.fromkeys(["nan", "crash", "killed", "silent"], "failed")}
    assert rows["reason"]["nan"] == "accuracy.valid is nan"
    assert rows["reason"]["crash"] == "the loss became inf within the last 7 images"
    assert rows["reason"]["killed"] == "killed by SIGKILL (out of memory?)"
    assert rows["reason"]["silent"] == "ended with status 3"
    file, line = rows["log"]["crash"].rsplit(":", 1)
    assert "the loss became inf" in Path(file).read_text().splitlines()[int(line) - 1]


def test_all_trials_failing_is_a_failure() -> None:
    with pytest.raises(TrainingFault, match="all 2 trials failed, the last one: the loss became inf"):
        swept(trials=2, space={"fate": "killed,crash"}, sampler="grid")


def test_a_run_that_hangs_is_stopped_then_killed_and_has_failed(monkeypatch, here) -> None:
    """It answers no SIGTERM either. Others go on meanwhile."""
    monkeypatch.setattr("convmixer.sweeps.executors.PATIENCE", 0.5)
    study = swept(trials=3, space={"fate": "hangs,ok,nan"}, sampler="grid", stall=1.5)
    assert states(study) == ["failed", "complete", "failed"]
    assert study.trials[0].user_attrs["reason"] == "it recorded nothing for 2 s"


def test_a_run_that_hangs_does_not_keep_a_sweep_from_being_stopped(monkeypatch, here) -> None:
    for module in ("executors", "study"):
        monkeypatch.setattr(f"convmixer.sweeps.{module}.PATIENCE", 0.5)
    of_other_tests = children(os.getpid())
    assert states(swept(trials=1, space={"fate": "hangs,ok"}, sampler="grid", seconds=2)) == ["running"]
    assert set(children(os.getpid())) <= set(of_other_tests)


def test_a_run_may_print_without_end(here) -> None:
    study = swept(trials=2, space={"fate": "prints,ok"}, sampler="grid")
    assert states(study) == ["failed", "complete"]
    failed = study.trials[0].user_attrs
    assert failed["reason"] == "that was much"
    assert failed["log"].endswith(f":{standin.MEGABYTES * 10_000 + 2}")


def test_a_full_disk_is_no_fault_of_a_point(monkeypatch, here) -> None:
    with pytest.raises(TrainingFault, match=r"^trial 0: the disk is full \(log.jsonl\).*; the sweep was stopped$"):
        swept(trials=2, space={"fate": "full,ok"}, sampler="grid", jobs=1)
    assert states(storage.load("standin")) == ["running"]


def test_a_retry_goes_on_from_the_checkpoint(here) -> None:
    study = swept(trials=2, space={"fate": "flaky,killed"}, sampler="grid", retry=2)
    assert states(study) == ["complete", "failed"]
    epochs = [
        line["track"]["accuracy.valid"][0][0]
        for line in read_log(next(here.glob(f"logs/*/{_run(study, 0)}/log.jsonl")))
    ]
    assert epochs == [1, 2, 3, 4, 5]
    assert [t.user_attrs["retries"] for t in study.trials] == [1, 2]


def _run(study: optuna.Study, trial: int) -> str:
    return study.trials[trial].user_attrs["runs"][0]


def test_seeds_give_mean_and_deviation() -> None:
    study = swept(trials=2, space={"x": "0.3,0.5"}, sampler="grid", seeds=3)
    first = study.trials[0]
    assert first.value == pytest.approx(0.98 + 0.01) and first.user_attrs["deviation"] == pytest.approx(0.01)
    assert len(set(first.user_attrs["runs"])) == 3
    assert best_command(study) == "python standin.py x=0.3 seed=0 seeds=3"


def test_a_hopeless_run_is_stopped_and_told_as_pruned(monkeypatch, here) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "1.5")
    points = "0.3,0.31,0.29,0.3001,0.9"
    study = swept(trials=5, space={"x": points}, sampler="grid", pruner="median", jobs=1)
    assert states(study) == ["complete"] * 4 + ["pruned"]
    assert study.trials[4].last_step < standin.EPOCHS
    log = next(here.glob(f"logs/*/{_run(study, 4)}/log.jsonl"))
    assert len(read_log(log)) < standin.EPOCHS


def test_time_is_up_and_the_same_sweep_goes_on(monkeypatch, here) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "30")
    study = swept(trials=2, seconds=1)
    assert states(study) == ["running"] * 2
    monkeypatch.setenv("STANDIN_SECONDS", "0")
    assert states(swept(trials=2)) == ["complete"] * 2
    assert len(list(here.glob("logs/standin/*"))) == 2


def test_what_a_study_was_begun_with_stays() -> None:
    swept(trials=1)
    with pytest.raises(UserError, match=r"begun with other values: x was from 0.0 to 1.0, is from 0.0 to 0.5; give "):
        swept(trials=1, space={"x": "uniform(0,0.5)"})
    changed = r"seeds was \[0\], is \[0, 1\]; x was from 0.0 to 1.0, is 0.1 or 0.3; n was not given, is from 1 to 3;"
    with pytest.raises(UserError, match=changed):
        swept(trials=1, seeds=2, space={"x": "0.1,0.3", "n": "int(1,3)"})


def test_a_database_that_is_gone_is_said_in_one_line(here) -> None:
    swept(trials=1)
    (here / "logs/sweeps/standin/study.db").write_bytes(b"no database")
    with pytest.raises(UserError, match=r"study.db: can't be used: .*not a database"):
        storage.load("standin")
    (here / "logs/sweeps/standin/study.db").unlink()
    with pytest.raises(UserError, match=r"it was stopped before its first trial; the same command begins it"):
        storage.load("standin")


def test_a_terminal_shows_a_table_that_follows_the_sweep(here) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, standin.__file__, "drive", '{"trials": 4, "screen": true}']
    environment = os.environ | {"STANDIN_SECONDS": "1.5", "COLUMNS": "200"}
    process = subprocess.Popen(command, cwd=here, env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    while chunk := _read(master):
        seen += chunk
    assert process.wait() == 0
    assert re.search(rb"trial +0 complete 0\.\d{4}", seen)
    assert re.search(
        rb"best 0\.\d{4} \(trial \d\); \d complete, 0 pruned, 0 failed, \d running of 4; about \d+ s left", seen
    )


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end was closed
        return b""


def test_only_one_process_drives_a_study(here) -> None:
    (here / "logs/sweeps/standin").mkdir(parents=True)
    with storage.lock(here / "logs/sweeps/standin"):
        holder = [sys.executable, standin.__file__, "drive", '{"trials": 1}']
        ended = subprocess.run(holder, cwd=here, capture_output=True, text=True)
    assert "another process is at it" in ended.stderr


def test_draws_do_not_depend_on_restarts() -> None:
    standin.drive({"trials": 12, "jobs": 1, "name": "one"})
    for trials in (1, 5, 12):
        swept(trials=trials, jobs=1)
    assert [t.params for t in storage.load("standin").trials] == [t.params for t in storage.load("one").trials]
    assert len({t.params["x"] for t in storage.load("one").trials}) == 12


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "qmc"])
def test_samplers_search(sampler) -> None:
    study = swept(trials=6, sampler=sampler, space={"x": "uniform(0,1)", "n": "intlog(1,64)"})
    assert states(study) == ["complete"] * 6
    assert len({t.params["x"] for t in study.trials}) == 6


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_pruners_prune(pruner, monkeypatch) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "1")
    points = "0.3,0.31,0.29,0.3001,0.9,0.95,0.99"
    study = swept(trials=7, space={"x": points}, sampler="grid", pruner=pruner, jobs=1)
    assert "pruned" in states(study) and study.best_params == {"x": 0.3}


def start(here: Path, **settings: object) -> subprocess.Popen:
    command = [sys.executable, standin.__file__, "drive", json.dumps(settings)]
    return subprocess.Popen(command, cwd=here, env=os.environ | {"STANDIN_SECONDS": "0.4"}, stderr=subprocess.DEVNULL)


def children(process: int) -> list[int]:
    """All processes below one, by /proc."""
    below = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, parent = int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == process:
            below += [number, *children(number)]
    return below


def kill_all(process: subprocess.Popen) -> None:
    for number in [process.pid, *children(process.pid)]:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def kill_driver(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def kill_a_run(process: subprocess.Popen) -> None:
    """The driver goes on, and is killed later; at times there is no run at the moment."""
    for number in children(process.pid):
        os.kill(number, signal.SIGKILL)
    time.sleep(0.3)
    kill_driver(process)


@pytest.mark.parametrize(
    ("kill", "kills"),
    [
        (kill_all, 4),
        *(pytest.param(kill, 20, marks=pytest.mark.slow) for kill in (kill_all, kill_driver, kill_a_run)),
    ],
)
def test_killed_at_random_moments_it_goes_on_to_the_same_end(kill: Callable, kills: int, here: Path) -> None:
    """Each run trains each epoch once, each trial is there once, and the draws are those of an undisturbed sweep."""
    settings = {"trials": 2 * kills, "jobs": 1, "sampler": "random", "retry": kills}
    moments = random.Random(kills)
    for _ in range(kills):
        process = start(here, **settings)
        time.sleep(0.6 + moments.random() * 1.2)
        kill(process)
    ended = start(here, **settings)
    assert ended.wait(60 + 2 * kills) == 0

    study = storage.load("standin")
    assert states(study) == ["complete"] * 2 * kills
    assert [t.number for t in study.trials] == list(range(2 * kills))
    runs = sorted(uuid for t in study.trials for uuid in t.user_attrs["runs"])
    assert sorted(f.name for f in here.glob("logs/standin/*")) == runs
    for log in here.glob("logs/standin/*/log.jsonl"):
        epochs = [line["track"]["accuracy.valid"][0][0] for line in read_log(log)]
        assert sorted(set(epochs)) == [1, 2, 3, 4, 5]
        assert len(epochs) <= 6  # a stand-in that dies between its log and its checkpoint repeats that epoch
    standin.drive({**settings, "name": "undisturbed"})
    assert [t.params for t in study.trials] == [t.params for t in storage.load("undisturbed").trials]
    assert [t.value for t in study.trials] == [t.value for t in storage.load("undisturbed").trials]


def test_a_reader_that_leaves_stops_it_and_its_runs_save(here) -> None:
    settings = json.dumps({"trials": 40, "jobs": 1, "screen": True, "sampler": "random"})
    process = subprocess.Popen(
        [sys.executable, standin.__file__, "drive", settings],
        cwd=here,
        env=os.environ | {"STANDIN_SECONDS": "0.4"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("trial   0 complete")
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(60) != 0 and "the sweep was stopped; the same command continues it" in errors
    assert "BrokenPipe" not in errors and len(states(storage.load("standin"))) < 40
    assert Interrupted("", signal.SIGPIPE).exit_status == 141


def test_a_signal_stops_its_runs_too(here) -> None:
    process = start(here, trials=8, jobs=2)
    deadline = time.monotonic() + 20
    while len(list(here.glob("logs/standin/*/log.jsonl"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    below = children(process.pid)
    process.terminate()
    assert process.wait(20) != 0
    assert below and not any(Path(f"/proc/{number}").exists() for number in below)
    assert Interrupted("", signal.SIGTERM).exit_status == 143
    assert set(states(storage.load("standin"))) <= {"running", "complete"}
