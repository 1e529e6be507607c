"""BatchNorm's running statistics, for forward passes that compute a batch's themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def track_statistics(norms: Sequence[nn.BatchNorm2d], means: list[Tensor], variances: list[Tensor], n: float) -> None:
    """Update running statistics as BatchNorm2d does: the variance unbiased; without momentum, means of all batches.

    One operation for several tensors: on a GPU starting them is all that takes time.

    Args:
        norms: one or more.
        means: of a batch, `[channels]` for each norm.
        variances: likewise, not corrected for their bias.
        n: the numbers of a channel in the batch.
    """
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
    momenta = {norm.momentum for norm in norms}
    if None in momenta or len(momenta) > 1:
        for norm, mean, variance in zip(norms, means, variances, strict=True):
            momentum = norm.momentum if norm.momentum is not None else 1 / norm.num_batches_tracked.item()
            _average([norm], [mean], [variance], n, momentum)
    else:
        _average(norms, means, variances, n, momenta.pop())


def _average(
    norms: Sequence[nn.BatchNorm2d], means: list[Tensor], variances: list[Tensor], n: float, momentum: float
) -> None:
    running_means, running_variances = [norm.running_mean for norm in norms], [norm.running_var for norm in norms]
    torch._foreach_mul_(running_means + running_variances, 1 - momentum)
    torch._foreach_add_(running_means, means, alpha=momentum)
    torch._foreach_add_(running_variances, variances, alpha=momentum * n / (n - 1))
