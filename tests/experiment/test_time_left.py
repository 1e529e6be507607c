"""The time that a training says is left."""

import pytest

from convmixer.experiment.time_left import TimeLeft


class Batches:
    share_of_pixels = 1.0


class Training:
    """A training of 100 updates, the last 40 of them with whole images."""

    def __init__(self, share_of_pixels: float = 1.0) -> None:
        self.train = Batches()
        self.train.share_of_pixels = share_of_pixels
        self.step, self.seconds, self.total_steps = 0, 0.0, 100

    def full_augmentation_until(self) -> int:
        return 60

    def go_on(self, updates: int, seconds: float) -> None:
        self.step += updates
        self.seconds += seconds


def test_it_goes_by_the_speed_of_the_last_epoch() -> None:
    """A second an update, then two, as another program began."""
    training = Training()
    left = TimeLeft(training)
    training.go_on(10, seconds=10)
    assert left.after_epoch() == pytest.approx(90)
    training.go_on(10, seconds=20)
    assert left.after_epoch() == pytest.approx(160)


def test_a_resumed_training_goes_by_its_own_speed() -> None:
    training = Training()
    training.go_on(50, seconds=1000)
    left = TimeLeft(training)
    training.go_on(10, seconds=10)
    assert left.after_epoch() == pytest.approx(40)


def test_updates_with_small_crops_take_less() -> None:
    """A part of a half of the pixels takes 0.57 of the time."""
    training = Training(share_of_pixels=0.5)
    left = TimeLeft(training)
    training.go_on(10, seconds=5.7)
    assert left.after_epoch() == pytest.approx(50 * 0.57 + 40 * 1.0, rel=0.01)
    training.go_on(60, seconds=38.5)
    assert left.after_epoch() == pytest.approx(30 * 1.0, rel=0.01)


def test_after_set_the_next_epoch_tells_the_speed() -> None:
    """Small crops are switched off after an epoch."""
    training = Training(share_of_pixels=0.5)
    left = TimeLeft(training)
    training.go_on(10, seconds=5.7)
    left.after_epoch()
    training.train.share_of_pixels = 1.0
    training.go_on(10, seconds=10.0)
    assert left.after_epoch() == pytest.approx(80)


def test_nothing_is_left_at_the_end() -> None:
    training = Training()
    left = TimeLeft(training)
    training.go_on(100, seconds=10)
    assert left.after_epoch() == 0
