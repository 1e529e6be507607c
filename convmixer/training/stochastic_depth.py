"""Stochastic depth: in training, each image skips some of the residual branches at random."""

import inspect

import torch
from torch import Tensor, nn

from convmixer.data.augmentation import random_seed
from convmixer.data.batches import Batches
from convmixer.errors import UserError


class StochasticDepth:
    """Stochastic depth: an image skips the depth-wise branch of layer l of L with probability `rate * l / L`.

    Source: "Deep Networks with Stochastic Depth" (arXiv 1603.09382), eq. 4, the linear rule; drawn for each image, and
    divided by the probability to stay, as in timm's DropPath. Only the depth-wise part of a ConvMixer layer has a
    residual connection, so the point-wise part is never skipped. BatchNorm within a branch sees all images.

    The draws are a function of (seed, epoch, image), independent of the batches.
    """

    def __init__(self, rate: float, n_layers: int, seed: int, batches: Batches) -> None:
        self.stays = 1 - rate * torch.arange(1, n_layers + 1)[:, None] / n_layers  # [n_layers, 1]
        self.seed = seed
        self.batches = batches
        self._epoch: int | None = None

    def scales(self, epoch: int, first: int, n: int) -> Tensor:
        """Return the factors of the branches for `n` images of an epoch.

        Args:
            epoch: the epoch, from 0.
            first: the place of the first image in the order of the epoch.
            n: the number of images.

        Returns:
            `[n_layers, n]`: 0, or 1 / (probability to stay).
        """
        if epoch != self._epoch:
            self._scales, self._epoch = self._of_epoch(epoch), epoch
        return self._scales[:, first : first + n]

    def _of_epoch(self, epoch: int) -> Tensor:
        """Return the factors of all images, in the epoch's order: `[n_layers, images]`."""
        generator = torch.Generator().manual_seed(random_seed(self.seed, epoch, "stochastic depth"))
        draws = torch.rand(self.batches.n_images, len(self.stays), generator=generator).T
        scales = (draws < self.stays) / self.stays
        return scales[:, self.batches.order(epoch).cpu()].to(self.batches.device)


def check_layer(model: nn.Module) -> None:
    """Check that the model's layers can skip their residual branch.

    Raises:
        UserError: their `forward()` does not take `residual_scale`.
    """
    layers = getattr(model, "conv_mixer_layers", [])
    if not layers or "residual_scale" not in inspect.signature(layers[0].forward).parameters:
        kind = type(layers[0] if layers else model).__name__
        raise UserError(f"overrides: stochastic_depth needs a layer whose forward() takes residual_scale, not {kind}")
