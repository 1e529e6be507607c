"""`runs`: a table of all runs, filtered and sorted, as wide as the terminal, or everything as JSON or CSV."""

import csv
import io
import json
from pathlib import Path

import pytest
from run_folders import make_run, points

from convmixer.tracking.recorder import Recorder

UUIDS = ("a1b2c3d4e5f60718293a4b5c6d7e8f90", "b1b2c3d4e5f60718293a4b5c6d7e8f90", "c1b2c3d4e5f60718293a4b5c6d7e8f90")


@pytest.fixture
def logs(here: Path) -> Path:
    """Three runs: one has ended on each of two data sets, one was killed after 1.5 of 3 epochs."""
    logs = here / "logs"
    common = {"recipe": "small", "d_model": 64}
    make_run(logs, UUIDS[0], "cifar10", 0.8, keys=common, tags=["cifar10", "small", "sweep:widths"])
    make_run(logs, UUIDS[1], "shapes", 0.9, keys=common | {"d_model": 128, "augment.ops": ["flip", "cutmix"]})
    start = {"data": "cifar10", "train_images": 100, "steps_per_epoch": 10, "total_steps": 30}
    start |= {"own": {"layer": "second_residual", "share": 0.5}}
    killed = make_run(
        logs, UUIDS[2], keys=common | {"share": 0.5}, tags=["cifar10", "small"], start=start, python_file="/x/mine.py"
    )
    validated = json.dumps({"track": {"accuracy.valid": [[100, [0.25]]]}}) + "\n"
    (killed / "log.jsonl").write_text(points(50, 100) + validated + points(150))
    return logs


def rows(text: str) -> list[dict[str, str]]:
    """The table's rows by column, as a terminal without an end shows it: two blanks are between columns."""
    head, *lines = text.splitlines()
    names = head.split()
    starts = [head.index(f"{name}") for name in names]
    return [
        {n: line[a:b].strip() for n, a, b in zip(names, starts, [*starts[1:], None], strict=True)} for line in lines
    ]


def test_the_table_says_how_far_each_run_is(logs: Path, call) -> None:
    first, second, killed = rows(call("runs").out)
    assert first["run"] == "a1b2c3d4" and first["status"] == "completed" and first["sweep"] == "widths"
    assert second["valid"] == "90.00%" and second["given"].startswith("augment.ops=[flip,cutmix] d_model=128")
    assert (killed["status"], killed["data"], killed["epochs"]) == ("killed", "cifar10", "1.5/3")
    assert (killed["valid"], killed["test"]) == ("25.00%", "-")
    assert killed["script"] == "mine.py layer=second_residual share=0.5" and "share" not in killed["given"]


def test_a_run_of_an_older_version_says_its_epochs_too(logs: Path, call) -> None:
    (logs / "try" / UUIDS[2] / "start.json").unlink()
    killed = rows(call("runs", "status=killed").out)[0]
    assert killed["data"] == "cifar10"  # by its tags
    assert killed["epochs"] == "1.5/3"  # as the first validation was after one


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("data=cifar10", "ac"),
        ("data=cifar10 status=completed", "a"),
        ("d_model=64 recipe=small", "ac"),
        ("status=completed,killed", "abc"),
        ("augment.ops=[flip,cutmix]", "b"),
        ("share=5e-1", "c"),
        ("sweep=widths", "a"),
        ("accuracy.test=0.5", "ab"),
        ("valid=0.25", "c"),
        ("epochs=3", "abc"),
        ("status=running", ""),
    ],
)
def test_filters_choose_by_columns_keys_and_metrics(filters: str, expected: str, logs: Path, call) -> None:
    found = json.loads(call("runs", *filters.split(), "--json").out)
    assert "".join(one["run"][0] for one in found) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--sort accuracy.valid", "bac"),
        ("--sort valid --reverse", "cab"),
        ("--sort d_model", "acb"),
        ("--sort loss.train", "cab"),
        ("--sort data", "acb"),
        ("--reverse", "cba"),
    ],
)
def test_sorted_by_any_of_them_the_highest_accuracy_first(options: str, expected: str, logs: Path, call) -> None:
    assert "".join(row["run"][0] for row in rows(call("runs", *options.split()).out)) == expected


def test_what_it_is_sorted_by_is_shown(logs: Path, call) -> None:
    assert [row["d_model"] for row in rows(call("runs", "--sort", "d_model").out)] == ["64", "64", "128"]


def test_what_no_run_has_is_refused_with_the_nearest_name(logs: Path, refusal) -> None:
    assert "no run has d_modle; did you mean d_model?" in refusal(["runs", "d_modle=3"])
    assert "did you mean accuracy.test?" in refusal(["runs", "--sort", "acuracy.test"])
    assert "'completed' is no filter, expected NAME=VALUE" in refusal(["runs", "list", "completed"])
    assert "exclude each other" in refusal(["runs", "--json", "--csv"])
    assert "No such command 'shwo'" in refusal(["runs", "shwo"])


def test_none_is_said(logs: Path, call) -> None:
    assert call("runs", "status=running").out == "none of 3 runs: status=running\n"


def test_json_has_all_that_is_known(logs: Path, call) -> None:
    first, _, killed = json.loads(call("runs", "--json").out)
    assert first["run"] == UUIDS[0] and first["results"]["accuracy.test"] == 0.5
    assert first["given"] == {"epochs": 3, "recipe": "small", "d_model": 64}
    assert killed["epochs_done"] == 1.5 and killed["epochs_total"] == 3 and killed["results"] is None
    assert killed["own"] == {"layer": "second_residual", "share": 0.5}


def test_csv_has_a_column_for_each_given_key(logs: Path, call) -> None:
    first, second, killed = csv.DictReader(io.StringIO(call("runs", "--csv").out))
    assert second["config.augment.ops"] == "[flip,cutmix]" and first["config.augment.ops"] == ""
    assert first["run"] == UUIDS[0] and killed["accuracy.test"] == "" and killed["config.share"] == "0.5"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_at_any_width_names_are_whole(width: int, logs: Path, call, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = call("runs").out
    assert all(len(line) <= width for line in text.splitlines()) and "…" not in text
    for uuid, status in zip(UUIDS, ("completed", "completed", "killed"), strict=True):
        assert any(line.startswith(uuid[:8]) and status in line for line in text.splitlines())
    assert ("too narrow for: " in text) == (width < 200)


def test_a_run_that_trains_is_running(logs: Path, call) -> None:
    recorder = Recorder(logs / "try" / UUIDS[2])
    assert rows(call("runs").out)[2]["status"] == "running"
    del recorder


def test_a_damaged_run_is_listed_as_such(logs: Path, call) -> None:
    (logs / "try" / UUIDS[1] / "configs.yaml").write_text("[")
    (logs / "try" / UUIDS[2] / "start.json").write_text('{"own": 3}')
    _, second, third = rows(call("runs").out)
    assert second["status"] == third["status"] == "damaged"
    assert "not valid YAML" in second["given"] and "start.json: own has the wrong type" in third["given"]
    assert len(rows(call("runs", "status=damaged").out)) == 2
