"""`small_crop`: training on a part of each image, until `augment.off_for`: less work, and whole images at the end."""

import copy

import pytest
import torch
from test_step_graph import graphed, plain, recorder, state_of
from test_trainer import CPU, Notes, assert_equal, make_trainer, two_colours

from convmixer.data.augmentation import Augmentation
from convmixer.data.augmentation.crops import SmallCrop
from convmixer.data.batches import Batches
from convmixer.data.splits import Split, measured
from convmixer.training import timing
from convmixer.training.trainer import Trainer

__all__ = ["recorder"]  # a fixture: a tape in place of a CUDA graph


def with_small_crops(total_steps: int = 10, off_for: float = 0.4) -> Trainer:
    """70 images of 8x8, 5 updates an epoch: parts of 4x4, then, for the last `off_for`, whole ones."""
    data = measured("colours", ("dark", "red"), enlarged(two_colours(70)), two_colours(20))
    crops = Augmentation({"small_crop": SmallCrop(0.5)}, seed=0, n=70, off_for=off_for)
    return make_trainer(total_steps, train=Batches(data.train, data, 16, CPU, seed=1, augmentation=crops))


def enlarged(split: Split) -> Split:
    """Images of twice the side."""
    return Split(split.images.repeat_interleave(2, 1).repeat_interleave(2, 2), split.labels)


class Sides(Notes):
    """Keeps the side of the images of each update."""

    def __init__(self, trainer: Trainer, stop_at: int | None = None) -> None:
        super().__init__(stop_at)
        self.sides: list[int] = []
        trainer.model.register_forward_pre_hook(self.see)

    def see(self, model: torch.nn.Module, inputs: tuple) -> None:
        if model.training:
            self.sides.append(inputs[0].shape[-1])


def test_the_last_updates_see_whole_images() -> None:
    trainer = with_small_crops()
    notes = Sides(trainer)
    trainer.fit(notes)
    assert notes.sides == [4] * 6 + [8] * 4
    assert all("accuracy.valid" in values for values in notes.epochs)


@pytest.mark.parametrize("stop_at", [3, 7])
def test_a_resumed_training_has_the_same_bits(stop_at: int) -> None:
    whole, first = with_small_crops(), with_small_crops()
    whole.fit(Notes())
    notes = Notes(stop_at)
    with pytest.raises(KeyboardInterrupt):
        first.fit(notes)
    resumed = with_small_crops()
    resumed.load_state_dict(copy.deepcopy(notes.stopped))
    resumed.fit(Notes())
    assert_equal(state_of(resumed), state_of(whole))


def test_a_graph_of_each_shape_is_recorded_before_the_clock(recorder) -> None:
    """Two sizes of batch, 16 and 6, of two sizes of images. The updates are those without a graph, to the bit."""
    trainers = [plain(with_small_crops), graphed(with_small_crops)]
    for trainer in trainers:
        made: list[int] = []
        notes = Notes()
        notes.stepped = lambda trainer, made=made: made.append(recorder.made)
        trainer.fit(notes)
    assert set(made) == {4} and trainer.train.fully_augmented == 6
    assert_equal(state_of(trainers[1]), state_of(trainers[0]))


def test_minutes_count_updates_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three quarters of the updates take 1 s, the last quarter 3 s: 100 s are 66 updates of 1.5 s."""
    monkeypatch.setattr(timing, "_seconds_per_update", lambda trial: 3.0 if trial.train.fully_augmented == 0 else 1.0)
    monkeypatch.setattr(timing, "_seconds_of_validation", lambda trial: 0.0)
    trainer = with_small_crops(off_for=0.25)
    assert timing.steps_in(trainer, 100.0) == 66
    assert trainer.train.fully_augmented is None


def test_a_part_has_a_share_of_the_pixels() -> None:
    trainer = with_small_crops()
    assert trainer.train.share_of_pixels == 0.25
    assert trainer.full_augmentation_until() == 6
