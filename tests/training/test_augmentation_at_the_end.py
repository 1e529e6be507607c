"""`augment.off_for`: at the end of a training only mild operations are applied, from an exact update on."""

import copy
import re

import pytest
import torch
from run_folders import only_run

from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.experiment.live_changes import LiveChanges
from convmixer.tracking.live_changes import Request, ask

OPS = ["translate", "flip", "cutout", "mixup"]


@pytest.fixture
def experiment_of(tiny, here):
    """Builds an experiment on 240 images, 3 updates an epoch, 4 epochs."""

    def build_it(**overrides):
        configs = Configs()
        sizes = {"d_model": 8, "n_layers": 1, "patch_size": 2, "train_batch_size": 80, "epochs": 4}
        data = {"data.dataset": "images", "data.path": str(tiny), "data.validation": 0, "augment.ops": OPS}
        configs.override({**sizes, **data, **overrides})
        return build(configs)

    return build_it


class Stopping:
    """An observer that keeps the state after some updates, and may change the length then, as `set steps=` does."""

    def __init__(self, at: int = 0, then: int = 0, total: int | None = None) -> None:
        self.at, self.then, self.total = at, then, total
        self.state = None
        self.mild = []  # updates

    def stepped(self, trainer) -> None:
        if trainer.is_mildly_augmented:
            self.mild.append(trainer.step - 1)
        if trainer.step == self.then and self.total:
            trainer.total_steps = self.total

    def checkpoint_is_due(self) -> bool:
        return True

    def checkpoint(self, trainer) -> None:
        if trainer.step == self.at:
            self.state = copy.deepcopy(trainer.state_dict() | {"total_steps": trainer.total_steps})

    def __getattr__(self, name):
        return lambda *_: None


def test_batches_change_at_an_exact_number_whatever_is_made_together(experiment_of) -> None:
    batches = experiment_of(train_batch_size=20).trainer.train  # 12 an epoch
    whole = list(batches.epoch(1))
    full, batches.augmentation = batches.augmentation, batches.augmentation.mild
    mild = list(batches.epoch(1))
    batches.augmentation, batches.fully_augmented = full, 12 + 5
    for at_once, first in ((1, 0), (4, 0), (100, 0), (4, 3), (4, 7)):
        batches._batches_at_once = lambda n=at_once: n
        made = dict(enumerate(batches.epoch(1, first), first))
        assert list(made) == list(range(first, 12))
        for number, (images, labels) in made.items():
            expected_images, expected_labels = whole[number] if number < 5 else mild[number]
            assert torch.equal(images, expected_images) and torch.equal(labels, expected_labels)
    assert whole[0][1].dim() == 2 and mild[0][1].dim() == 1  # shares of labels where images are mixed


@pytest.mark.parametrize(("off_for", "first"), [(0.0, 12), (0.01, 12), (0.25, 9), (0.4, 7), (1.0, 0)])
def test_the_share_is_of_the_training_in_updates(experiment_of, off_for, first) -> None:
    watching = Stopping()
    experiment_of(**{"augment.off_for": off_for}).trainer.fit(watching)
    assert watching.mild == list(range(first, 12))


@pytest.mark.parametrize(("then", "total"), [(0, None), (4, 8), (4, 20), (7, 9)])
def test_a_resumed_training_has_the_same_bits_also_where_its_length_was_changed(experiment_of, then, total) -> None:
    keys = {"augment.off_for": 0.4}
    whole = experiment_of(**keys).trainer
    watching = Stopping(at=8 if then == 7 else 5, then=then, total=total)
    whole.fit(watching)
    resumed = experiment_of(**keys).trainer
    resumed.load_state_dict(watching.state)
    resumed.total_steps = watching.state["total_steps"]
    again = Stopping()
    resumed.fit(again)
    assert again.mild == [update for update in watching.mild if update >= watching.at]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])


def test_set_changes_the_share_from_the_next_epoch_on(experiment_of, tmp_path) -> None:
    experiment = experiment_of(**{"augment.off_for": 0.1})
    trainer = experiment.trainer
    changes = LiveChanges(experiment, tmp_path, [], lambda line: None)
    watching = Stopping()
    note = watching.stepped

    def stepped(trainer) -> None:
        note(trainer)
        if trainer.step == 4:
            ask(tmp_path, [Request("augment.off_for", 0.5)])
        changes.after_update()

    watching.stepped = stepped
    trainer.fit(watching)
    assert watching.mild == list(range(6, 12))


def test_a_run_says_from_when_on_what_is_off(command, tiny_run_overrides, tmp_path) -> None:
    output = command(*tiny_run_overrides, "augment.ops=[flip,erasing,cutmix]", "augment.off_for=0.4").stdout
    assert re.search(r"^augment without erasing, cutmix from update 13 of 21 on$", output, re.MULTILINE)
    assert "from update 13 on: without erasing, cutmix (augment.off_for=0.4)" in output
    assert only_run(tmp_path).summary["configs"]["augment.off_for"] == 0.4


WRONG = [
    (
        ["augment.ops=[translate,flip]", "augment.off_for=0.1"],
        "turns nothing off: augment.ops names only translate, flip",
    ),
    (["augment.ops=[]", "augment.off_for=0.1"], "augment.ops names nothing"),
    (["augment.off_for=10"], "augment.off_for=10 is wrong, expected a number from 0 up to 1"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=["mild ones", "none", "epochs"])
def test_a_share_that_turns_nothing_off_is_refused(words, expected, tiny_run_overrides, refusal, here) -> None:
    assert expected in refusal([*tiny_run_overrides, *words])
    assert not list(here.rglob("run.yaml"))
