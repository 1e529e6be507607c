"""The speed that a run tells of is that of this attempt, not of what was trained before it was resumed."""

import pytest
import torch

from convmixer.training import running_metrics
from convmixer.training.running_metrics import RunningMetrics


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by as much as is asked, in seconds."""
    now = [0.0]
    monkeypatch.setattr(running_metrics.time, "perf_counter", lambda: now[0])
    return now


def train(metrics: RunningMetrics, images: int) -> None:
    metrics.add(
        torch.tensor(float(images)), torch.zeros(images, 3), torch.zeros(images), torch.tensor(1.0), lambda s: s
    )


def test_images_of_an_earlier_attempt_are_in_the_means_but_not_in_the_speed(clock: list[float]) -> None:
    first = RunningMetrics(torch.device("cpu"), 3, False)
    clock[0] += 1
    train(first, 300)
    first.report(1)
    train(first, 60)  # stopped in the middle of an interval
    second = RunningMetrics(torch.device("cpu"), 3, False)
    second.restore(first.interval, first.epoch, first.epoch_loss)
    second.start_clock()
    clock[0] += 2
    train(second, 40)
    assert second.report(2)["time.images_per_second"] == 20  # 40 images in 2 seconds
    assert second.epoch[2] == 400  # all images of the epoch are in its means
    assert second.end_epoch(2)["time.images_per_second"] == 20
    clock[0] += 1
    train(second, 10)
    assert second.report(3)["time.images_per_second"] == 10
    assert second.end_epoch(1)["time.images_per_second"] == 10
