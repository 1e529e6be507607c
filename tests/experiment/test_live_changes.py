"""Values that `set` changes while a run trains: at once, recorded, and again where the run is resumed or repeated."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EXPERIMENT, metrics_saved, wait_for
from run_folders import assert_same_result, only_run

from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.errors import UserError
from convmixer.experiment.live_changes import LiveChanges
from convmixer.tracking.live_changes import Change, Request, ask, read_changes
from convmixer.tracking.runs import all_runs
from convmixer.training.optimizers import decaying_groups

LONG = ["epochs=400", "checkpoint.minutes=1000"]


def without_length(overrides: list[str]) -> list[str]:
    return [word for word in overrides if not word.startswith(("epochs", "steps"))]


@pytest.fixture
def training(start, tiny_run_overrides, tmp_path):
    """A long run that trains now."""
    process = start(*without_length(tiny_run_overrides), *LONG)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 1, process)
    yield process
    process.kill()


def test_values_change_at_the_next_update_and_a_repeated_run_has_the_same_bits(
    training, command, tiny_run_overrides, tmp_path
) -> None:
    said = command("set", "last", "optimizer.learning_rate=0.003", "label_smoothing=0.2").stdout.splitlines()
    assert [line.split(" on: ")[1] for line in said] == [
        "optimizer.learning_rate=0.003 (was 0.01)",
        "label_smoothing=0.2 (was 0.1)",
    ]
    assert "(was 0.003)" in command("set", "last", "optimizer.learning_rate=0.001").stdout
    training.kill()  # what was changed since the last checkpoint is not in it
    training.wait()
    assert "does not train now: it takes this before its next update" in command("set", "last", "epochs=20").stdout
    command("resume", "last")
    run = only_run(tmp_path)
    assert [text.split(" on: ")[1] for text in run.summary["changes"]][:3] == [
        "optimizer.learning_rate=0.003 (was 0.01)",
        "label_smoothing=0.2 (was 0.1)",
        "optimizer.learning_rate=0.001 (was 0.003)",
    ]
    file = run.folder / "changes.jsonl"
    command(*without_length(tiny_run_overrides), *LONG, f"changes={file}")
    first, repeated = all_runs(tmp_path / "logs")
    assert repeated.summary["steps"] == first.summary["steps"] < 1000
    assert_same_result(first, repeated)


def test_stop_ends_the_training_and_tests_it(training, command, tmp_path) -> None:
    assert "steps=" in command("set", "last", "stop=true").stdout
    assert training.wait(60) == 0
    run = only_run(tmp_path)
    assert run.status == "completed" and run.summary["accuracy.test"] > 0
    assert "has ended" in command("set", "last", "stop=true", status=2).stderr


WRONG = [
    ("d_model=16", "d_model can't be changed after training has begun; only"),
    ("augment.ops=[flip]", "augment.ops can't be changed"),
    ("optimizer.learning_rate=fast", "optimizer.learning_rate=fast is wrong, expected"),
    ("optimizer.learning_rat=1", "did you mean optimizer.learning_rate?"),
    ("augment.cutout=8", "augment.cutout is given, but augment.ops does not name cutout"),
    ("stop=maybe", "stop=maybe is wrong, expected true or false"),
    ("", "give what to change"),
]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, tiny_run_overrides) -> Path:
    """A folder with a run that was stopped within its first epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    words = [*without_length(tiny_run_overrides), *LONG]
    process = subprocess.Popen([sys.executable, EXPERIMENT, *words], cwd=folder, stdout=subprocess.DEVNULL)
    wait_for(lambda: metrics_saved(folder / "logs") > 1, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    return folder


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_values_are_refused_at_once(words, expected, interrupted, refusal, monkeypatch) -> None:
    monkeypatch.chdir(interrupted)
    monkeypatch.setattr(sys, "argv", [str(EXPERIMENT)])  # the script that trained it
    assert expected in refusal(["set", "last", *words.split()])
    assert not list(interrupted.rglob("requests.jsonl"))


@pytest.fixture
def experiment(tiny, here):
    """3 updates an epoch, AdamW."""
    configs = Configs()
    sizes = {"d_model": 8, "n_layers": 1, "patch_size": 2, "train_batch_size": 80, "epochs": 4}
    data = {"data.dataset": "images", "data.path": str(tiny), "data.validation": 0, "augment.ops": ["translate"]}
    configs.override(sizes | data)
    return build(configs)


def train(experiment, changes: LiveChanges, updates: int) -> None:
    """Make updates without a recorder."""
    trainer = experiment.trainer
    for _ in range(updates):
        trainer.step += 1
        changes.after_update()
        trainer._set_learning_rate()


def test_rates_and_decay_change_in_proportion_to_each_group_s_own(experiment, tmp_path) -> None:
    trainer = experiment.trainer
    changes = LiveChanges(experiment, tmp_path, [], print)
    rates = list(trainer.learning_rates)
    decays = [group["weight_decay"] for group in decaying_groups(trainer.optimizer)]
    ask(tmp_path, [Request("optimizer.learning_rate", experiment.values["optimizer.learning_rate"] * 2)])
    ask(tmp_path, [Request("optimizer.weight_decay", experiment.values["optimizer.weight_decay"] * 3)])
    train(experiment, changes, 1)
    assert trainer.learning_rates[0] == pytest.approx(2 * rates[0])
    assert trainer.learning_rates[-1] == rates[-1]  # Muon's, which has a key of its own
    now = [group["weight_decay"] for group in decaying_groups(trainer.optimizer)]
    assert now == pytest.approx([3 * decay for decay in decays]) and max(now) > 0


def test_strengths_of_augmentation_wait_for_the_next_epoch(experiment, tmp_path) -> None:
    changes = LiveChanges(experiment, tmp_path, [], print)
    train(experiment, changes, 1)
    ask(tmp_path, [Request("augment.translate", 1)])
    train(experiment, changes, 1)
    (change,) = read_changes(tmp_path / "changes.jsonl")
    assert (change.update, change.was) == (3, 4)
    before = experiment.trainer.train.augmentation
    train(experiment, changes, 1)
    assert experiment.trainer.train.augmentation is not before
    assert experiment.trainer.train.augmentation.operations["translate"].pixels == 1


def test_lengths_in_epochs_or_updates_and_never_less_than_was_trained(experiment, tmp_path) -> None:
    changes = LiveChanges(experiment, tmp_path, [], print)
    for key, value, total in (("epochs", 2, 6), ("steps", 9, 9), ("steps", 1, 3)):
        ask(tmp_path, [Request(key, value)])
        train(experiment, changes, 1)
        assert experiment.trainer.total_steps == total


def test_back_at_an_earlier_update_the_earlier_values_are_used_again(experiment, tmp_path) -> None:
    changes = LiveChanges(experiment, tmp_path, [], print)
    train(experiment, changes, 2)
    total, rates = experiment.trainer.total_steps, list(experiment.trainer.learning_rates)
    ask(tmp_path, [Request("steps", 20), Request("optimizer.learning_rate", 0.5)])
    train(experiment, changes, 1)
    changed = list(experiment.trainer.learning_rates)
    experiment.trainer.step = 1  # as after a loss that is not finite
    changes.restore()
    assert (experiment.trainer.total_steps, experiment.trainer.learning_rates) == (total, rates)
    train(experiment, changes, 2)
    assert experiment.trainer.total_steps == 20 and experiment.trainer.learning_rates == changed
    assert len(read_changes(tmp_path / "changes.jsonl")) == 2


def test_damaged_requests_are_said_once_and_do_not_end_the_training(experiment, tmp_path) -> None:
    said = []
    changes = LiveChanges(experiment, tmp_path, [], said.append)
    (tmp_path / "requests.jsonl").write_text('{"key": "label_smoothing", "value"\n')
    train(experiment, changes, 2)
    (line,) = said
    assert line.startswith("nothing is changed: ") and "requests.jsonl: line 1 is damaged" in line
    assert experiment.trainer.step == 2 and not changes.changes


DAMAGED = ["{", "[]", '{"update": 1}', '{"update": "1", "key": "steps", "value": 1, "was": 1, "request": 1}']


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_file_is_named(line: str, tmp_path) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(UserError, match=r"changes.jsonl: line 1 is damaged: expected a key and its value$"):
        read_changes(file)


def test_a_line_that_a_kill_cut_short_does_not_count(tmp_path) -> None:
    change = Change(3, "label_smoothing", 0.1, 0.0, 1)
    line = json.dumps(change.__dict__) + "\n"
    (tmp_path / "changes.jsonl").write_text(line + line[:20])
    assert read_changes(tmp_path / "changes.jsonl") == [change]


def test_wrong_changes_of_a_file_are_refused_before_training(tiny_run_overrides, refusal, tmp_path, here) -> None:
    file = tmp_path / "theirs.jsonl"
    file.write_text('{"update": 3, "key": "d_model", "value": 16, "was": 8, "request": 1}\n')
    assert "d_model can't be changed while a run trains" in refusal([*tiny_run_overrides, f"changes={file}"])
    file.write_text('{"update": 3, "key": "label_smoothing", "value": "x", "was": 0.1, "request": 1}\n')
    assert "label_smoothing=x is wrong" in refusal([*tiny_run_overrides, f"changes={file}"])
    assert "there is no such file" in refusal([*tiny_run_overrides, "changes=nowhere.jsonl"])
