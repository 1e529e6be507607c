"""BatchNorm over several workers' images equals BatchNorm2d on all of them. Workers are threads here: quick."""

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convmixer.training.distributed.global_batch_norm import GlobalBatchNorm2d
from convmixer.training.distributed.workers import Workers


class Threads(Workers):
    """One of several workers that are threads, and exchange tensors through a list."""

    def __init__(self, rank: int, table: list[Tensor | None], barrier: threading.Barrier) -> None:
        super().__init__(rank, len(table))
        self.table = table
        self.barrier = barrier

    def all_gather(self, tensor: Tensor) -> Tensor:
        self.table[self.rank] = tensor
        self.barrier.wait(30)
        gathered = torch.stack(self.table)
        self.barrier.wait(30)
        return gathered

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(self.all_gather(tensor.clone()).sum(0))


def in_threads(count: int, work: Callable[[Workers], dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """What `work` returns in each of `count` workers."""
    table: list[Tensor | None] = [None] * count
    barrier = threading.Barrier(count)
    results: list[dict[str, Tensor]] = [{}] * count
    errors: list[Exception] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(Threads(rank, table, barrier))
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    return results


def once(norm: nn.Module, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """Output, gradients and running statistics after one pass."""
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(dy)
    gradients = {name: p.grad for name, p in norm.named_parameters()}
    return {"y": y.detach(), "x": x.grad, **gradients, **{name: b.clone() for name, b in norm.named_buffers()}}


def spread(norm: nn.BatchNorm2d, workers: Workers) -> nn.Module:
    model = nn.Sequential(copy.deepcopy(norm))
    GlobalBatchNorm2d.convert(model, workers)
    return model[0]


def of_all(norm: nn.BatchNorm2d, x: Tensor, dy: Tensor, sizes: list[int]) -> dict[str, Tensor]:
    """What several workers come to, put together: batches joined, gradients of parameters added up."""
    parts, their_dy = x.split(sizes), dy.split(sizes)
    found = in_threads(len(sizes), lambda w: once(spread(norm, w), parts[w.rank], their_dy[w.rank]))
    for other in found[1:]:
        assert all(torch.equal(other[name], found[0][name]) for name in ("running_mean", "running_var"))
    joined = {name: torch.cat([f[name] for f in found]) for name in ("y", "x")}
    added = {name: sum(f[name] for f in found) for name in ("weight", "bias")}
    return found[0] | joined | added


def norm_of(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    return norm


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=2, max_size=4).filter(any),
    channels=st.integers(1, 40),
    height=st.integers(1, 7),
    width=st.integers(2, 7),
    mean=st.sampled_from([0.0, 3.0, 1000.0]),
    seed=st.integers(0, 2**31),
)
def test_any_shares_give_the_numbers_of_the_whole_batch(sizes, channels, height, width, mean, seed) -> None:
    """Unequal and empty ones too, and values whose mean is large beside their deviation."""
    torch.manual_seed(seed)
    norm = norm_of(channels)
    x = torch.randn(sum(sizes), channels, height, width) + mean
    dy = torch.randn_like(x)
    expected = once(copy.deepcopy(norm).double(), x.double(), dy.double())
    found = of_all(norm, x, dy, sizes)
    rounding = 1e-6 * (10 + mean)  # of x itself, relative to its deviation of 1
    for name, value in expected.items():
        scale = 1 + value.abs().max().item()
        torch.testing.assert_close(found[name].to(value.dtype), value, rtol=0, atol=4 * rounding * scale, msg=name)


def test_running_statistics_without_momentum_are_means_of_all_batches() -> None:
    norm, x = norm_of(4), torch.randn(6, 4, 3, 3)
    norm.momentum = None

    def twice(norm: nn.Module, x: Tensor) -> dict[str, Tensor]:
        norm(x), norm(2 * x)
        return dict(norm.named_buffers())

    found = in_threads(2, lambda w: twice(spread(norm, w), x.split([2, 4])[w.rank]))
    torch.testing.assert_close(found[0], twice(norm, x))


def test_in_evaluation_it_is_an_ordinary_one() -> None:
    norm, x = norm_of(4).eval(), torch.randn(5, 4, 3, 3)
    assert torch.equal(spread(norm, Threads(0, [None] * 2, threading.Barrier(2)))(x), norm(x))


def test_sixteen_bits_keep_statistics_of_thirty_two() -> None:
    norm, x = norm_of(4), torch.randn(6, 4, 3, 3)
    found = in_threads(2, lambda w: once(spread(norm, w), *(t.bfloat16() for t in x.chunk(2)[w.rank : w.rank + 1] * 2)))
    assert found[0]["y"].dtype == torch.bfloat16 and found[0]["running_mean"].dtype == torch.float32
    expected = once(copy.deepcopy(norm), x.bfloat16().float(), x.bfloat16().float())
    torch.testing.assert_close(found[0]["running_var"], expected["running_var"])
    torch.testing.assert_close(torch.cat([f["y"] for f in found]).float(), expected["y"], rtol=1e-2, atol=1e-2)


def test_one_value_of_a_channel_in_a_whole_batch_is_refused_as_batch_norm_does() -> None:
    shares = torch.randn(1, 4, 1, 1).split([1, 0])
    with pytest.raises(ValueError, match="more than one value of each channel"):
        in_threads(2, lambda w: once(spread(norm_of(4), w), shares[w.rank], shares[w.rank]))


def test_parameters_statistics_and_names_stay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(norm_of(4), nn.BatchNorm2d(4, affine=False)))
    before = dict(model.state_dict(keep_vars=True))
    GlobalBatchNorm2d.convert(model, Workers())
    after = model.state_dict(keep_vars=True)
    assert list(before) == list(after) and all(before[name] is after[name] for name in before)
    assert [type(module) for module in model[1]] == [GlobalBatchNorm2d] * 2
