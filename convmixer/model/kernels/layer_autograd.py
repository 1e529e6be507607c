"""Makes a whole layer's operation differentiable: what it keeps for its backward pass, and the shapes of both.

The kernels of a CPU and those of a GPU have an operation each. Both take x, the layer's eight weights and both
epsilons, and return the output, mean and variance of both BatchNorms, and what the backward pass needs beside these.
"""

from typing import Any

import torch
from torch import Tensor

from convmixer.model.kernels.memory import like

N_INPUTS, N_WEIGHTS, N_STATISTICS = 10, 8, 4


def outputs_like(x: Tensor, n_saved: int) -> tuple[Tensor, ...]:
    """Return uninitialized results of a layer's operation: the output, the statistics, and `n_saved` tensors as x."""
    statistics = [x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(N_STATISTICS)]
    return like(x), *statistics, *(like(x) for _ in range(n_saved))


def make_differentiable(layer: Any, backward: Any, n_saved: int) -> None:
    """Connect a layer's operation to the one of its backward pass, and tell torch.compile the shapes of both.

    Args:
        layer: a `torch.library.custom_op`; it returns what `outputs_like` does.
        backward: one that takes the output's gradient, x, the weights, the statistics, the saved tensors and the
            epsilons, and returns the gradients of x and of the weights.
    """

    def save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        x, *weights, ctx.epsilons = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *weights, *output[1:])

    def gradients(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor | None, *_: None
    ) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * N_INPUTS
        x, *rest = ctx.saved_tensors
        weights, statistics = rest[:N_WEIGHTS], rest[N_WEIGHTS : N_WEIGHTS + N_STATISTICS]
        return *backward(gradient, x, weights, statistics, rest[N_WEIGHTS + N_STATISTICS :], ctx.epsilons), None

    @layer.register_fake
    def _(x: Tensor, *_: object) -> tuple[Tensor, ...]:
        return outputs_like(x, n_saved)

    @backward.register_fake
    def _(gradient: Tensor, x: Tensor, weights: list[Tensor], *_: object) -> list[Tensor]:
        return [like(x), *(torch.empty_like(weight) for weight in weights)]

    layer.register_autograd(gradients, setup_context=save)
