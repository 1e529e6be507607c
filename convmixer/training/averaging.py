"""Keeps a moving average of the weights, which is validated, tested and saved instead of them."""

import copy

import torch
from torch import Tensor, nn


class AveragedWeights:
    """An exponential moving average of a model: `average = decay * average + (1 - decay) * weights` at each update.

    Source: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992, with the warm-up
    of TensorFlow's ExponentialMovingAverage, by which the decay grows with the number n of updates: (1 + n) / (10 + n).
    In contrast to it, the first update sets the average to the weights, so their random initialization has no effect.

    The running statistics of BatchNorm are averaged in the same way as the weights. This is an approximation: they
    belong to the weights during training; the averaged network's own would need another pass over the images.

    Attributes:
        model: the averaged network, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Add the current weights to the average; `updates` is the number of updates so far, at least 1."""
        decay = min(self.decay, (updates - 1) / (updates + 8))
        averages, weights = zip(*self._floats, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)
        torch._foreach_copy_(*zip(*self._counters, strict=True))


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
