"""The moving average of weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operations import OperationCounter

from convmixer.model.variants import conv_mixer
from convmixer.training.averaging import AveragedWeights


def set_to(model: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(value)


def value_of(average: AveragedWeights) -> float:
    """Which all weights and statistics of BatchNorm have in common."""
    floats = [t for t in average.model.state_dict().values() if t.is_floating_point()]
    assert all(torch.all(t == floats[0].flatten()[0]) for t in floats)
    return floats[0].flatten()[0].item()


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_it_is_the_recurrence(values: list[float], decay: float) -> None:
    model = conv_mixer(2, 1, 1, 1)
    average, expected = AveragedWeights(model, decay), 0.0
    for n, value in enumerate(values, 1):
        set_to(model, value)
        average.update(n)
        d = min(decay, (n - 1) / (n + 8))
        expected = d * expected + (1 - d) * value
    assert value_of(average) == pytest.approx(expected, abs=1e-5)


def test_the_first_update_forgets_the_start_and_late_ones_count_little() -> None:
    model = conv_mixer(2, 1, 1, 1)
    average = AveragedWeights(model, 0.999)
    set_to(model, 5.0)
    average.update(1)
    assert value_of(average) == 5.0
    set_to(model, 6.0)
    average.update(100_000)
    assert value_of(average) == pytest.approx(5.001)


def test_counters_are_copied_and_the_average_is_a_network_of_its_own() -> None:
    model = conv_mixer(4, 1, 3, 2)
    average = AveragedWeights(model, 0.9)
    model(torch.randn(8, 3, 4, 4))
    average.update(1)
    assert average.model.patch_emb.norm.num_batches_tracked == 1
    assert not average.model.training and model.training
    assert not any(p.requires_grad for p in average.model.parameters())


def test_an_update_is_two_operations_however_many_tensors_there_are() -> None:
    """Each costs a GPU's host some microseconds."""
    average = AveragedWeights(conv_mixer(4, 5, 3, 2), 0.9)
    with OperationCounter() as counter:
        average.update(1)
    assert counter.names == ["_foreach_lerp_", "_foreach_copy_"]
