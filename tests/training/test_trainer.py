"""The training loop by itself: gradients, clipping, metrics, and going on from a state."""

import contextlib
import copy
import math

import pytest
import torch

from convmixer.data.batches import Batches
from convmixer.data.datasets import Split
from convmixer.data.splits import measured
from convmixer.errors import TrainingFault
from convmixer.model.layers import conv_mixer
from convmixer.training.optimizers import adamw, parameter_groups, sgd
from convmixer.training.schedules import constant, paper
from convmixer.training.timing import steps_in
from convmixer.training.trainer import Trainer

CPU = torch.device("cpu")


class Notes:
    """Keeps what a trainer tells."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.saved: list[tuple[int, dict[str, float]]] = []
        self.epochs: list[dict[str, float]] = []
        self.stop_at = stop_at
        self.stopped: dict | None = None
        self.step = 0

    def metrics(self, images: int, values: dict[str, float]) -> None:
        self.saved.append((images, values))

    def stepped(self, trainer: Trainer) -> None:
        self.step = trainer.step

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        self.epochs.append(values)

    def should_stop(self) -> bool:
        return self.step == self.stop_at

    def stopping(self, trainer: Trainer) -> None:
        self.stopped = copy.deepcopy(trainer.state_dict())


def two_colours(n: int) -> Split:
    labels = torch.arange(n) % 2
    images = torch.randint(0, 100, (n, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    images[..., 0] += (labels * 60).to(torch.uint8)[:, None, None]
    return Split(images, labels)


def make_trainer(total_steps: int = 25, **options) -> Trainer:
    dataset = measured("colours", ("dark", "red"), two_colours(70), two_colours(20))
    torch.manual_seed(0)
    model = conv_mixer(4, 1, 3, 2, n_classes=2).to(memory_format=torch.channels_last)
    optimizer = options.pop("optimizer", None) or adamw(parameter_groups(model, 0.01, False), 0.02, [0.9, 0.999], 1e-8)
    return Trainer(
        model,
        optimizer,
        options.pop("schedule", paper),
        Batches(dataset.train, dataset, 16, CPU, seed=1),
        Batches(dataset.test, dataset, 20, CPU),
        total_steps,
        **options,
    )


def test_it_learns_and_reports_each_step_once() -> None:
    trainer, notes = make_trainer(total_steps=100), Notes()
    trainer.fit(notes)
    assert notes.epochs[-1]["accuracy.valid"] > 0.9
    steps = [images for images, _ in notes.saved]
    assert steps == sorted(set(steps))
    assert steps[-1] == trainer.images == 20 * 70
    last = notes.saved[-1][1]
    assert last["optim.lr"] == pytest.approx(0.02 * paper(99.5 / 100))
    assert last["norm.weight"] == pytest.approx(
        math.sqrt(sum(float(p.detach().square().sum()) for p in trainer.model.parameters())), rel=1e-5
    )


def test_training_ends_in_the_middle_of_an_epoch_where_steps_say_so() -> None:
    trainer, notes = make_trainer(total_steps=7), Notes()
    trainer.fit(notes)
    assert trainer.step == 7 and trainer.images == 70 + 2 * 16
    assert len(notes.epochs) == 2


@pytest.mark.parametrize("stop_at", [1, 4, 5, 13])
def test_going_on_from_a_state_ends_with_the_same_bits_and_points(stop_at: int) -> None:
    whole, all_notes = make_trainer(), Notes()
    whole.fit(all_notes)

    stopped, before = make_trainer(), Notes(stop_at)
    with contextlib.suppress(KeyboardInterrupt):
        stopped.fit(before)
    resumed, after = make_trainer(), Notes()
    resumed.load_state_dict(before.stopped or stopped.state_dict())
    if before.stopped:
        resumed.fit(after)

    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name

    def exact(notes: list[tuple[int, dict[str, float]]]) -> list:
        return [(step, {k: v for k, v in values.items() if k[:5] != "time."}) for step, values in notes]

    assert exact(before.saved + after.saved) == exact(all_notes.saved)


def test_gradients_are_clipped_to_a_norm() -> None:
    trainer = make_trainer(gradient_clip=0.001)
    trainer.model.train()
    trainer.train_step(next(trainer.train.epoch()))
    norm = torch.nn.utils.get_total_norm([p.grad for p in trainer.model.parameters()])
    assert norm == pytest.approx(0.001, rel=1e-3)


def test_a_loss_that_is_not_finite_is_a_fault() -> None:
    trainer = make_trainer(schedule=constant)
    with torch.no_grad():
        trainer.model.classification.linear.weight[0, 0] = math.nan
    with pytest.raises(TrainingFault, match="the loss became nan within the last"):
        trainer.fit(Notes())


def test_label_smoothing_and_half_precision_train_too() -> None:
    trainer = make_trainer(total_steps=60, label_smoothing=0.1, precision=torch.bfloat16)
    notes = Notes()
    trainer.fit(notes)
    assert notes.epochs[-1]["accuracy.valid"] > 0.8
    assert next(trainer.model.parameters()).dtype is torch.float32


def test_sgd_trains_too() -> None:
    trainer = make_trainer(total_steps=1)
    groups = parameter_groups(trainer.model, 0.0, False)
    other = Trainer(trainer.model, sgd(groups, 0.1, 0.9), constant, trainer.train, trainer.valid, 60)
    notes = Notes()
    other.fit(notes)
    assert notes.epochs[-1]["accuracy.valid"] > 0.9


def test_timing_a_trainer_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convmixer.training.timing.SECONDS", 0.2)
    trainer = make_trainer()
    before, generator = copy.deepcopy(trainer.state_dict()), torch.get_rng_state()
    one, two = steps_in(trainer, 1.0), steps_in(trainer, 20.0)
    assert two > one >= 1
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in before["model"].items():
        assert torch.equal(value, trainer.model.state_dict()[name])
    assert trainer.step == 0
