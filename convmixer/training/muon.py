"""Muon, all matrices of one shape at a time."""

from collections.abc import Callable

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon`, whose settings and state it has, with few operations for many matrices.

    Matrices of one shape are stacked, so that a step takes few operations. The Newton-Schulz iteration is computed in
    bfloat16 on a GPU, as torch does everywhere, and in float32 on a CPU, where casts to bfloat16 take most of the time.
    A learning rate may be a tensor, as a CUDA graph needs it.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for matrices in by_shape.values():
                self._update(matrices, group)

    def _update(self, matrices: list[Tensor], group: dict) -> None:
        gradients = [matrix.grad for matrix in matrices]
        for matrix in matrices:
            if "momentum_buffer" not in self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix.grad)
        averages = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, averages, group["momentum"]) if group["nesterov"] else averages
        rows, columns = matrices[0].shape
        steps = orthogonalised(torch.stack(updates), group["ns_coefficients"], group["ns_steps"], group["eps"])
        steps = steps * (-group["lr"] * max(1.0, rows / columns) ** 0.5)
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(steps.unbind()))


def orthogonalised(
    matrices: Tensor, coefficients: tuple[float, float, float], iterations: int, epsilon: float
) -> Tensor:
    """Matrices with the same singular vectors, and singular values near 1, by the Newton-Schulz iteration.

    Source: Jordan et al., "Muon", 2024; X <- a X + (b A + c A A) X with A = X X^T, as `torch.optim.Muon` computes it.

    Args:
        matrices: `[n, rows, columns]`.

    Returns:
        `[n, rows, columns]`, in the type of `matrices`.
    """
    a, b, c = coefficients
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices  # the smaller of X X^T and X^T X
    x = x.to(torch.bfloat16 if x.device.type == "cuda" else torch.float32)
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=epsilon)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)
