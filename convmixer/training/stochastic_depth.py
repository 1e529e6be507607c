"""Stochastic depth: in training, each image leaves out some of the residual branches."""

import inspect

import torch
from torch import Tensor, nn

from convmixer.data.augmentation import random_seed
from convmixer.data.batches import Batches
from convmixer.errors import UserError


class StochasticDepth:
    """Leaves out the depth-wise branch of layer l, of L, for an image with probability `rate * l / L`.

    Source: "Deep Networks with Stochastic Depth" (arXiv 1603.09382), eq. 4, the linear rule; drawn by the image and
    divided by the probability to stay, as timm's DropPath does. Only the depth-wise part of a ConvMixer layer has a
    residual, so the point-wise part is never left out. BatchNorm within a branch sees all images.

    The draws are a function of (seed, epoch, image), whatever the batches.
    """

    def __init__(self, rate: float, n_layers: int, seed: int, batches: Batches) -> None:
        self.stays = 1 - rate * torch.arange(1, n_layers + 1)[:, None] / n_layers  # [n_layers, 1]
        self.seed = seed
        self.batches = batches
        self._epoch: int | None = None

    def scales(self, epoch: int, first: int, n: int) -> Tensor:
        """What to multiply branches by, for the `n` images of an epoch from the one at place `first` on.

        Returns:
            `[n_layers, n]`: 0, or 1 over the probability to stay.
        """
        if epoch != self._epoch:
            self._scales, self._epoch = self._of_epoch(epoch), epoch
        return self._scales[:, first : first + n]

    def _of_epoch(self, epoch: int) -> Tensor:
        """`[n_layers, images]`, in the epoch's order."""
        generator = torch.Generator().manual_seed(random_seed(self.seed, epoch, "stochastic depth"))
        draws = torch.rand(self.batches.n_images, len(self.stays), generator=generator).T
        scales = (draws < self.stays) / self.stays
        return scales[:, self.batches.order(epoch).cpu()].to(self.batches.device)


def check_layer(model: nn.Module) -> None:
    """Raise a `UserError` where the model's layers can't leave out their residual branch."""
    layers = getattr(model, "conv_mixer_layers", [])
    if not layers or "residual_scale" not in inspect.signature(layers[0].forward).parameters:
        kind = type(layers[0] if layers else model).__name__
        raise UserError(f"overrides: stochastic_depth needs a layer whose forward() takes residual_scale, not {kind}")
