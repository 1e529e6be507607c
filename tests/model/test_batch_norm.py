"""Running statistics of several BatchNorms at once."""

import pytest
import torch
from operations import OperationCounter
from torch import nn

from convmixer.model.batch_norm import track_statistics


def batch_statistics(norms: list[nn.BatchNorm2d], x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [x.mean((0, 2, 3)) for _ in norms], [x.var((0, 2, 3), correction=0) for _ in norms]


@pytest.mark.parametrize("momentum", [0.1, 0.4, None])
def test_they_are_those_that_each_batch_norm_would_track(momentum: float | None) -> None:
    norms, torchs = ([nn.BatchNorm2d(4, momentum=momentum) for _ in range(2)] for _ in range(2))
    for step in range(3):
        x = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(step))
        track_statistics(norms, *batch_statistics(norms, x), n=45)
        for norm in torchs:
            norm.train()(x)
    for norm, expected in zip(norms, torchs, strict=True):
        torch.testing.assert_close(norm.state_dict(), expected.state_dict())


def test_many_norms_take_as_many_operations_as_one() -> None:
    """Each would be started on a GPU by itself: for two norms in each of eight layers, five operations each, 80."""

    def count(n_norms: int) -> int:
        norms = [nn.BatchNorm2d(4) for _ in range(n_norms)]
        statistics = batch_statistics(norms, torch.randn(5, 4, 3, 3))
        with OperationCounter() as counter:
            track_statistics(norms, *statistics, n=45)
        return len(counter.names)

    assert count(16) == count(1) <= 5
