"""Computes BatchNorm over the images of all workers, also on the CPU, which torch's SyncBatchNorm does not support.

With m the number of values of a channel (images x places) over all workers, x' = (x - mean) / sqrt(variance + eps):

    y  = gamma x' + beta                    gamma' = sum dy x'      beta' = sum dy
    dx = gamma / sqrt(variance + eps) (dy - beta' / m - x' gamma' / m)

Sums over images go over all workers in dx, but stay each worker's own in gamma' and beta': these gradients are added up
with those of all other parameters.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convmixer.model.batch_norm import track_statistics
from convmixer.training.distributed.workers import Workers


def use_global_batch_norm(model: nn.Module, workers: Workers, device: torch.device) -> None:
    """Make every BatchNorm in `model` use the images of all workers, in place."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model, workers.training_group)
    else:
        GlobalBatchNorm2d.convert(model, workers)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm2d over the whole batch, of which each worker has a part; parts may be unequal, or empty."""

    workers: Workers

    @classmethod
    def convert(cls, module: nn.Module, workers: Workers) -> None:
        """Replace every BatchNorm2d within `module` by this class, with the same parameters and statistics."""
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, cls._like(child, workers))
            else:
                cls.convert(child, workers)

    @classmethod
    def _like(cls, norm: nn.BatchNorm2d, workers: Workers) -> "GlobalBatchNorm2d":
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta")
        new._parameters, new._buffers = norm._parameters, norm._buffers
        new.training, new.workers = norm.training, workers
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel: [batch, channels, height, width] -> the same shape.

        Raises:
            ValueError: a channel has only one value in the whole batch.
        """
        if not (self.training or self.running_mean is None):
            return super().forward(x)
        y, mean, variance, m = _Normalise.apply(x.float(), self.weight, self.bias, self.eps, self.workers)
        if self.training and self.running_mean is not None:
            track_statistics([self], [mean], [variance], m)
        return y.to(x.dtype)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, workers: Workers
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        x = x.contiguous(memory_format=torch.channels_last)
        mean, variance, m = statistics(x, workers)
        if m < 2:
            raise ValueError("batch normalisation needs more than one value of each channel in a batch")
        ctx.save_for_backward(x, gamma, mean, (variance + eps).rsqrt())
        ctx.m, ctx.workers = m, workers
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return F.batch_norm(x, mean, variance, gamma, beta, eps=eps), mean, variance, m

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 5
        x, gamma, mean, scale = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        d_gamma, d_beta = _sums(dy, x, mean, scale)
        sum_dy_x, sum_dy = ctx.workers.all_reduce_sum(torch.stack([d_gamma, d_beta]).double()).div_(ctx.m)
        of_dy = scale if gamma is None else scale * gamma
        of_x = -of_dy * scale * sum_dy_x
        constant = -of_dy * sum_dy - of_x * mean
        of_dy, of_x, constant = (t.to(x.dtype)[:, None, None] for t in (of_dy, of_x, constant))
        dx = torch.addcmul(constant, x, of_x).addcmul_(dy, of_dy)
        return dx, None if gamma is None else d_gamma, None if gamma is None else d_beta, None, None


def _sums(dy: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return `sum dy x'` and `sum dy` over this worker's images, `[channels]` each."""
    if not x.numel():  # the operation below crashes without images (torch 2.15)
        return torch.zeros_like(mean), torch.zeros_like(mean)
    wanted = [False, True, True]  # without the gradient of x, which needs the other workers' sums
    _, sum_dy_x, sum_dy = torch.ops.aten.native_batch_norm_backward(
        dy, x, torch.ones_like(mean), None, None, mean, scale, True, 0.0, wanted
    )
    return sum_dy_x, sum_dy


def statistics(x: Tensor, workers: Workers) -> tuple[Tensor, Tensor, float]:
    """Return mean and (biased) variance `[channels]` of `x` over all workers, and the number of values of a channel.

    The workers' own statistics are merged in the order of the workers (Chan, Golub & LeVeque, 1979), in float64, so all
    workers get the same bits, and no digits are lost if the mean is much larger than the deviation.

    Args:
        x: this worker's images, `[batch, channels, height, width]`.
    """
    count = x.numel() // x.shape[1]
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0) if count else x.new_zeros(2, x.shape[1])
    own = torch.cat([mean, variance, mean.new_tensor([count])]).double()
    means, variances, counts = workers.all_gather(own).split([x.shape[1], x.shape[1], 1], dim=1)
    m = counts.sum()
    mean = (counts * means).sum(0) / m
    variance = (counts * (variances + (means - mean).square())).sum(0) / m
    return mean.to(x.dtype), variance.to(x.dtype), m.item()
