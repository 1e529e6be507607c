"""An update as a CUDA graph, on a CPU: a tape of operations stands in for CUDA's recorder.

As a graph does, the tape repeats the operations with the numbers of their recording, on the memory of their recording.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from test_trainer import CPU, Notes, assert_equal, make_trainer, with_all_options
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convmixer.training import trainer as trainer_module
from convmixer.training.averaging import AveragedWeights
from convmixer.training.divergence import Diverged
from convmixer.training.optimizers import learning_rates_on, parameter_groups
from convmixer.training.trainer import Trainer


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a GPU: reading a number from it."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        assert function is not torch.ops.aten._local_scalar_dense.default, "an update waits for the device"
        return function(*args, **kwargs or {})


class Tape(NoWaiting):
    """Notes each operation and the tensors that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        results = super().__torch_dispatch__(function, types, args, kwargs)
        self.calls.append((function, args, kwargs or {}, results))
        return results

    @torch.no_grad()
    def replay(self) -> None:
        for function, args, kwargs, results in self.calls:
            for old, new in zip(tree_leaves(results), tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class TapeRecorder:
    """As `CudaRecorder`; but recording makes the update as well."""

    made = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def warm_up(self, run: Callable[[], object]) -> None:
        run()

    def record(self, run: Callable[[], tuple]) -> tuple[Callable[[], None], tuple]:
        TapeRecorder.made += 1
        with Tape() as tape:
            outputs = run()
        return tape.replay, outputs


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[TapeRecorder]]:
    monkeypatch.setattr(trainer_module, "CudaRecorder", TapeRecorder)
    monkeypatch.setattr(TapeRecorder, "made", 0)
    yield TapeRecorder


def with_sgd() -> Trainer:
    """Fused, as on a GPU: otherwise SGD reads its learning rate."""
    trainer = make_trainer()
    groups = parameter_groups(trainer.model, 0.01, False)
    return make_trainer(
        model=trainer.model, optimizer=torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=True)
    )


MAKE = {"AdamW": make_trainer, "Muon": with_all_options, "SGD": with_sgd}


def graphed(make: Callable[[], Trainer]) -> Trainer:
    trainer = make()
    trainer.cuda_graph, trainer.graphed = True, trainer._graphed_update()
    trainer.compile_mode = "as on a GPU, warm up before the clock"
    return trainer


def plain(make: Callable[[], Trainer]) -> Trainer:
    """Its learning rates are float32 tensors too."""
    trainer = make()
    learning_rates_on(trainer.optimizer, CPU)
    return trainer


def state_of(trainer: Trainer) -> dict:
    return {name: value for name, value in trainer.state_dict().items() if "seconds" not in name}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_replayed_updates_are_the_updates_to_the_bit_and_are_recorded_before_the_clock(make, recorder) -> None:
    """70 images make batches of 16 and a last one of 6: two recordings."""
    trainers = [plain(make), graphed(make)]
    for trainer in trainers:
        trainer.total_steps = 12
        notes = Notes()
        made: list[int] = []
        notes.stepped = lambda trainer, made=made: made.append(recorder.made)
        trainer.fit(notes)
    assert set(made) == {2} and trainer.warm_up_seconds > 0
    assert_equal(state_of(trainers[1]), state_of(trainers[0]))


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_it_resumes_to_the_same_bits_also_without_a_graph(make, recorder) -> None:
    whole, first = graphed(make), graphed(make)
    whole.total_steps = first.total_steps = 12
    whole.fit(Notes())
    notes = Notes(stop_at=7)
    with pytest.raises(KeyboardInterrupt):
        first.fit(notes)
    assert all(isinstance(rate, float) for rate in rates_in(notes.stopped["optimizer"]))
    for resumed in (graphed(make), plain(make)):
        resumed.load_state_dict(copy.deepcopy(notes.stopped))
        learning_rates_on(resumed.optimizer, CPU)
        resumed.total_steps = 12
        resumed.fit(Notes())
        assert_equal(state_of(resumed), state_of(whole))


def rates_in(state: dict) -> list:
    parts = [state] if "param_groups" in state else state.values()
    return [group["lr"] for part in parts for group in part["param_groups"]]


def test_going_back_to_an_earlier_state_is_effective(recorder) -> None:
    """As `on_nan=rewind` does within one attempt."""
    trainer, ended = graphed(with_all_options), []
    trainer.total_steps = 6
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(notes := Notes(stop_at=3))
    for _ in range(2):
        trainer.load_state_dict(copy.deepcopy(notes.stopped))
        trainer.fit(Notes())
        ended.append(copy.deepcopy(state_of(trainer)))
    assert_equal(ended[1], ended[0])


def changed(trainer: Trainer) -> None:
    """As `set` changes values while a run trains."""
    trainer.label_smoothing, trainer.gradient_clip = 0.3, 0.01
    trainer.learning_rates = [rate * 2 for rate in trainer.learning_rates]
    for group in trainer.optimizer.param_groups:
        group["weight_decay"] = 0.5


def test_values_changed_between_two_updates_are_effective_and_only_these_are_recorded_again(recorder) -> None:
    def train(trainer: Trainer) -> dict:
        notes = Notes()
        notes.stepped = lambda trainer: changed(trainer) if trainer.step == 3 else None
        trainer.total_steps = 8
        trainer.fit(notes)
        return state_of(trainer)

    one, two = train(plain(make_trainer)), train(graphed(make_trainer))
    assert_equal(two, one)
    assert recorder.made == 2 + 2  # both sizes again
    faster = graphed(make_trainer)
    faster.fit(Notes())
    before = recorder.made
    faster.learning_rates = [rate * 2 for rate in faster.learning_rates]
    faster.total_steps += 2
    faster.fit(Notes())
    assert recorder.made == before


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
@pytest.mark.parametrize("is_graphed", [False, True])
def test_no_update_waits_for_the_device(make, is_graphed) -> None:
    trainer = graphed(make) if is_graphed else plain(make)
    trainer.average = AveragedWeights(trainer.model, 0.9)
    batches = list(trainer.train.epoch(0))
    trainer.model.train()
    for number, batch in enumerate(batches):
        with NoWaiting() if number else nullcontext():
            trainer.train_step(batch)


def test_a_weight_that_is_not_finite_is_noticed_as_without_a_graph() -> None:
    trainer = graphed(make_trainer)
    notes = Notes()

    @torch.no_grad()
    def spoil(trainer: Trainer) -> None:
        next(iter(trainer.model.parameters())).fill_(torch.nan)

    notes.stepped = spoil
    with pytest.raises(Diverged, match="a weight became nan"):
        trainer.fit(notes)
