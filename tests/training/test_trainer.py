"""The training loop by itself: gradients, clipping, metrics, and going on from a state."""

import contextlib
import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from convmixer.data.batches import Batches
from convmixer.data.datasets import Split
from convmixer.data.splits import measured
from convmixer.errors import TrainingFault
from convmixer.model.variants import conv_mixer
from convmixer.tracking.runs import all_runs
from convmixer.training import timing
from convmixer.training.averaging import AveragedWeights
from convmixer.training.divergence import Diverged
from convmixer.training.optimizers import (
    MuonAndAdamW,
    adamw,
    faster_norm_biases,
    hidden_matrices,
    parameter_groups,
    sgd,
)
from convmixer.training.schedules import constant, paper, trapezoid
from convmixer.training.stochastic_depth import StochasticDepth
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

    def checkpoint_is_due(self) -> bool:
        return False

    def checkpoint(self, trainer: Trainer) -> None:
        self.stopped = copy.deepcopy(trainer.state_dict())


def two_colours(n: int) -> Split:
    labels = torch.arange(n) % 2
    images = torch.randint(0, 100, (n, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    images[..., 0] += (labels * 60).to(torch.uint8)[:, None, None]
    return Split(images, labels)


def make_trainer(total_steps: int = 25, device: torch.device = CPU, **options) -> Trainer:
    dataset = measured("colours", ("dark", "red"), two_colours(70), two_colours(20))
    torch.manual_seed(0)
    model = options.pop("model", None) or conv_mixer(4, 1, 3, 2, n_classes=2)
    model.to(device, memory_format=torch.channels_last)
    optimizer = options.pop("optimizer", None) or adamw(parameter_groups(model, 0.01, False), 0.02, [0.9, 0.999], 1e-8)
    return Trainer(
        model,
        optimizer,
        options.pop("schedule", paper),
        options.pop("train", None) or Batches(dataset.train, dataset, 16, device, seed=1),
        Batches(dataset.test, dataset, 20, device),
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


def with_all_options(device: torch.device = CPU) -> Trainer:
    """Muon, an average, stochastic depth, and batches of 16 in parts of 5."""
    plain = make_trainer(device=device)
    model, train = plain.model, plain.train
    groups = faster_norm_biases(parameter_groups(model, 0.01, False), model, 0.02, 4.0)
    return Trainer(
        model,
        MuonAndAdamW(groups, hidden_matrices(model), 0.02, 0.02, 0.01, [0.9, 0.999], 1e-8),
        trapezoid,
        train,
        plain.valid,
        25,
        micro_batch_size=5,
        stochastic_depth=StochasticDepth(0.5, 1, seed=1, batches=train),
        average=AveragedWeights(model, 0.9),
    )


@pytest.mark.parametrize("make", [make_trainer, with_all_options])
@pytest.mark.parametrize("stop_at", [1, 4, 5, 13])
def test_going_on_from_a_state_ends_with_the_same_bits_and_points(stop_at: int, make: Callable[[], Trainer]) -> None:
    whole, all_notes = make(), Notes()
    whole.fit(all_notes)

    stopped, before = make(), Notes(stop_at)
    with contextlib.suppress(KeyboardInterrupt):
        stopped.fit(before)
    resumed, after = make(), Notes()
    resumed.load_state_dict(before.stopped or stopped.state_dict())
    if before.stopped:
        resumed.fit(after)

    for part in ("model", "model_in_training"):
        for name, value in (whole.state_dict()[part] or {}).items():
            assert torch.equal(value, resumed.state_dict()[part][name]), name

    def exact(notes: list[tuple[int, dict[str, float]]]) -> list:
        return [(step, {k: v for k, v in values.items() if k[:5] != "time."}) for step, values in notes]

    assert exact(before.saved + after.saved) == exact(all_notes.saved)


def test_an_update_is_the_textbooks() -> None:
    """To the bit: none of the options leaves a trace where it is off."""
    trainer = make_trainer(total_steps=10, label_smoothing=0.1, gradient_clip=1.0, micro_batch_size=16)
    model, batches = copy.deepcopy(trainer.model).train(), trainer.train
    optimizer = adamw(parameter_groups(model, 0.01, False), 0.02, [0.9, 0.999], 1e-8)
    for step, (images, labels) in enumerate(itertools.chain(batches.epoch(0), batches.epoch(1))):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * paper((step + 0.5) / 10)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels, label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    trainer.fit(Notes())
    assert trainer.step == step + 1
    for name, value in model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name


def without_batch_norm(trainer: Trainer) -> Trainer:
    trainer.model.apply(lambda m: m.eval() if isinstance(m, torch.nn.BatchNorm2d) else None)
    return trainer


@pytest.mark.parametrize("size", [1, 3, 5, 8, 15])
def test_micro_batches_add_up_to_the_same_gradients_where_images_do_not_meet(size: int) -> None:
    whole, parts = without_batch_norm(make_trainer()), without_batch_norm(make_trainer(micro_batch_size=size))
    for trainer in (whole, parts):
        trainer.train_step(next(trainer.train.epoch()))
    for (name, p), q in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert whole.take_sums() == pytest.approx(parts.take_sums(), rel=1e-4)


@pytest.mark.parametrize("make", [make_trainer, with_all_options])
def test_an_update_does_not_wait_for_the_device(make: Callable[..., Trainer]) -> None:
    """On torch's `meta` device there are no numbers: what would read one on a GPU, and wait for it, raises here."""
    trainer = make(device=torch.device("meta"))
    for batch in trainer.train.epoch():
        trainer.train_step(batch)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        trainer.take_sums()


def test_the_first_update_is_timed_apart() -> None:
    trainer = make_trainer()
    trainer.fit(Notes())
    assert 0 < trainer.warm_up_seconds < trainer.seconds


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


@pytest.mark.parametrize("make", [make_trainer, with_all_options])
def test_timing_a_trainer_leaves_it_as_it_was(make: Callable[[], Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convmixer.training.timing.SECONDS", 0.2)
    trainer = make()
    before, generator = copy.deepcopy(trainer.state_dict()), torch.get_rng_state()
    one, two = steps_in(trainer, 1.0), steps_in(trainer, 20.0)
    assert two > one >= 1
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in before["model"].items():
        assert torch.equal(value, trainer.state_dict()["model"][name])
    assert trainer.step == 0


class Spoiling(Notes):
    """Makes the weights of the head `factor` times as large after the first epoch."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        super().epoch_ended(trainer, values)
        if len(self.epochs) == 1:
            with torch.no_grad():
                trainer.model.classification.linear.weight.mul_(self.factor)


def test_a_loss_that_jumps_diverges_where_that_is_asked_for() -> None:
    with pytest.raises(Diverged, match=r"the loss jumped to .* within the last 64 images \(step 9\), .* epoch before"):
        make_trainer(spikes_diverge=True).fit(Spoiling(-1000))
    trainer = make_trainer()
    trainer.fit(Spoiling(-1000))
    assert trainer.step == 25


def test_one_image_that_is_wrong_is_no_jump() -> None:
    """An epoch's last point on the curve may be of a single image: here of one with a wrong label, now and then."""
    split = two_colours(65)
    split.labels[:6] = 1 - split.labels[:6]
    dataset = measured("colours", ("dark", "red"), split, two_colours(20))
    batches = Batches(dataset.train, dataset, 16, CPU, seed=1)
    trainer, notes = make_trainer(total_steps=300, train=batches, spikes_diverge=True), Notes()
    trainer.fit(notes)
    assert trainer.step == 300
    means = [epoch["loss.train"] for epoch in notes.epochs]
    ends = [values["loss.train"] for _, values in notes.saved][4::5]
    assert any(end > max(2 * mean, math.log(2)) for end, mean in zip(ends[1:], means, strict=False))


@pytest.mark.slow
def test_a_healthy_run_whose_epochs_end_in_one_image_is_not_sent_back(command, tmp_path) -> None:
    """5,121 training images in batches of 128."""
    sizes = ("d_model=16", "n_layers=2", "epochs=15", "train_batch_size=128", "data.validation=4879")
    command("data.dataset=shapes", *sizes, "on_nan=rewind")
    (run,) = all_runs(tmp_path / "logs")
    assert run.summary["rewinds"] == 0 and run.summary["accuracy.test"] > 0.8


def test_weights_that_are_not_finite_are_never_saved() -> None:
    """Not even where a checkpoint is due between two points of the curve."""

    class Eager(Spoiling):
        def checkpoint_is_due(self) -> bool:
            return True

        def checkpoint(self, trainer: Trainer) -> None:
            assert all(p.isfinite().all() for p in trainer.model.parameters())

    with pytest.raises(Diverged, match="became nan"):
        make_trainer().fit(Eager(math.nan))


def test_each_rewind_halves_the_learning_rate() -> None:
    trainer, notes = make_trainer(total_steps=5, schedule=constant), Notes()
    trainer.rewinds = 2
    trainer.fit(notes)
    assert {values["optim.lr"] for _, values in notes.saved} == {0.02 / 4}


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> CompileCounter:
    """Counts what torch.compile compiles; the code is run as it is, which spares its seconds."""
    torch._dynamo.reset()
    counter, compile_ = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **options: compile_(model, **options | {"backend": counter}))
    return counter


def test_equal_layers_are_compiled_once_and_nothing_is_while_the_clock_runs(compilations: CompileCounter) -> None:
    """70 images make batches of 16 and a last one of 6."""
    torch.manual_seed(0)
    model = conv_mixer(4, 5, 3, 2, n_classes=2)
    compiled_ones: list[int] = []
    trainer, notes = make_trainer(11, model=model, compile_mode="default"), Notes()
    notes.stepped = lambda trainer: compiled_ones.append(compilations.frame_count)
    trainer.fit(notes)
    assert set(compiled_ones) == {6}  # patch embedding, layer and head for two sizes of batch
    assert trainer.step == 11 and trainer.warm_up_seconds > 0


def test_updates_that_warm_up_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, statistics, optimizer, average and random generators are as without."""
    made, step = [], Trainer.train_step
    monkeypatch.setattr(
        Trainer, "train_step", lambda self, batch: (made.append((self.step, len(batch[1]))), step(self, batch))
    )
    ended = []
    for mode in (None, "default"):
        made.clear()
        trainer = make_trainer(7)
        trainer.compile_mode = mode
        trainer.average = AveragedWeights(trainer.model, 0.9)
        trainer.fit(Notes())
        state = trainer.state_dict()
        ended.append({name: value for name, value in state.items() if "seconds" not in name})
    without, after = ended
    assert_equal(after, without)
    assert made[:6] == [(0, 16)] * 3 + [(4, 6)] * 3  # the first and the last batch of 70 images
    assert [number for number, _ in made[6:]] == list(range(7))


def assert_equal(one: object, two: object) -> None:
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for name in one:
            assert_equal(one[name], two[name])
    elif isinstance(one, list):
        for a, b in zip(one, two, strict=True):
            assert_equal(a, b)
    else:
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def test_minutes_are_measured_without_waiting_for_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "updates_of_a_stretch", lambda device: 4)
    monkeypatch.setattr(timing, "_finish", lambda device: waits.append(trial_steps()))
    trainer = make_trainer()
    steps, step = [], Trainer.train_step
    trial_steps = steps.__len__
    monkeypatch.setattr(Trainer, "train_step", lambda self, batch: (steps.append(1), step(self, batch)))
    steps_in(trainer, 1.0)
    assert waits == [4 * (i + 1) for i in range(timing.WARM_UP + timing.LEAST)]
