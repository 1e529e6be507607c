"""Reading runs back: by name, running or cut short, without labml."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT
from run_folders import make_run, points

from convmixer.errors import UserError
from convmixer.project import project_folder
from convmixer.tracking.recorder import Recorder, keep_log_up_to
from convmixer.tracking.run_folder import read_log
from convmixer.tracking.runs import compare, differences, run, runs


def test_a_run_is_named_by_uuid_prefix_last_or_best(tmp_path: Path) -> None:
    for uuid, valid in (("aa1", 0.7), ("ab2", 0.9), ("b3", None)):
        make_run(tmp_path, uuid, valid=valid)
    assert run("aa", tmp_path).uuid == "aa1"
    assert run("best", tmp_path).uuid == "ab2"
    assert run("last", tmp_path).uuid == "b3"
    with pytest.raises(UserError, match="2 runs begin with 'a'"):
        run("a", tmp_path)
    with pytest.raises(UserError, match="there is no run 'c'"):
        run("c", tmp_path)


def test_best_is_of_the_data_of_the_last_run_that_has_ended_and_says_so(tmp_path: Path, caplog) -> None:
    for uuid, data, valid in (("a", "shapes", 0.9), ("b", "cifar10", 0.8), ("c", "cifar10", 0.7), ("d", "", None)):
        make_run(tmp_path, uuid, data, valid)
    assert run("best", tmp_path).uuid == "b"
    line = "best: run b with 80.00% accuracy.valid on cifar10, the best of 2 runs (1 run not compared)"
    assert caplog.messages == [line]


def test_best_is_by_test_accuracy_where_the_last_run_had_no_validation_split(tmp_path: Path, caplog) -> None:
    make_run(tmp_path, "a", valid=0.9)
    for uuid, test in (("b", 0.6), ("c", 0.55)):
        summary = make_run(tmp_path, uuid, valid=0.5) / "summary.json"
        summary.write_text(json.dumps({"data": "shapes", "accuracy.test": test}))
    assert run("best", tmp_path).uuid == "b"
    assert "60.00% accuracy.test on shapes" in caplog.text


def test_without_an_accuracy_there_is_no_best(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    with pytest.raises(UserError, match="no run has ended with an accuracy yet"):
        run("best", tmp_path)


def test_metrics_of_a_log_that_a_kill_cut_short(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a")
    (folder / "log.jsonl").write_text(points(10, 20) + points(30)[:-7])
    assert run("a", tmp_path).metrics["loss.train"].to_dict() == {10: 1.0, 20: 2.0}
    assert run("a", tmp_path).status == "killed"


def test_the_table_of_runs(tmp_path: Path) -> None:
    make_run(tmp_path, "a", valid=0.9)
    (row,) = runs(tmp_path).to_dict("records")
    assert row["run"] == "a" and row["valid"] == 0.9 and row["given"] == "epochs=3"


def test_a_log_is_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(points(10, 20, 30) + '{"track": {"lo')
    keep_log_up_to(log, 20)
    assert [line["track"]["loss.train"][0][0] for line in read_log(log)] == [10, 20]


def test_only_one_recorder_holds_a_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a")
    first = Recorder(folder)
    assert run("a", tmp_path).status == "running"
    other = f"from convmixer.tracking.recorder import Recorder, Path; Recorder(Path({str(folder)!r}))"
    ended = subprocess.run([sys.executable, "-c", other], cwd=PROJECT, capture_output=True, text=True)
    assert "another process is training this run" in ended.stderr
    del first


def test_the_project_folder_is_the_nearest_with_a_labml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert project_folder() == inner
    (tmp_path / ".labml.yaml").write_text("experiments_path: runs\n")
    assert project_folder() == tmp_path


def test_reading_runs_imports_no_labml() -> None:
    """labml's logger breaks in notebooks with IPython 9, and importing labml hooks the console."""
    modules = "convmixer.notebook.watch, convmixer.notebook.launch, convmixer.notebook.anatomy.mistakes"
    code = f"import sys, {modules}; sys.exit('labml' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


def test_a_damaged_run_does_not_hide_the_others(tmp_path: Path) -> None:
    make_run(tmp_path, "a", valid=0.9)
    (make_run(tmp_path, "b") / "run.yaml").write_text("{")
    make_run(tmp_path, "c").joinpath("configs.yaml").unlink()  # just being made
    table = runs(tmp_path).set_index("run")
    assert table.status.to_dict() == {"a": "completed", "b": "damaged"}
    assert "run.yaml: not valid YAML" in table.given["b"]


def test_runs_compared(tmp_path: Path) -> None:
    first, second = (make_run(tmp_path, uuid, valid=valid) for uuid, valid in (("a", 0.9), ("b", None)))
    (first / "log.jsonl").write_text(points(10, 20))
    item = {"value": 8, "computed": 8, "is_explicitly_specified": False}
    model = item | {"value": "ConvMixer(\n  1\n)"}
    for folder, epochs in ((first, 3), (second, 4)):
        configs = {"epochs": item | {"value": epochs}, "d_model": item, "optimizer.model": model}
        (folder / "configs.yaml").write_text(yaml.safe_dump(configs))
        model = item | {"value": "ConvMixer(\n  2\n)"}
    chosen = [run("a", tmp_path), run("b", tmp_path)]
    assert differences(chosen).to_dict("index") == {"epochs": {"a": 3, "b": 4}}
    table = compare(chosen)
    assert table["a"][["images", "loss.train", "accuracy.test (end)"]].tolist() == [20, 2.0, 0.5]
    assert table["b"]["status"] == "killed" and table["b"].isna()["images"]


@pytest.mark.slow
def test_the_network_of_a_run(tiny_run_overrides: list[str], command: Callable, tmp_path: Path) -> None:
    """Without labml: the same accuracy as the run ended with."""
    said = command(*tiny_run_overrides).stdout
    code = (
        "import sys; from convmixer.tracking.runs import run; from convmixer.notebook.anatomy.images import dataset_of;"
        "from convmixer.trained.opening import from_run; r = run('last'); t = from_run(r); test = dataset_of(t).test;"
        "right = t.model(t.normalise(test.images)).argmax(1) == test.labels;"
        "print(f'{right.float().mean():.2%}', 'labml' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    accuracy, imported = ended.stdout.split()
    assert f"test accuracy   {accuracy} of 60" in said and imported == "False"
