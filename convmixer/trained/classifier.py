"""Runs a trained network on a device: from uint8 images to logits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convmixer.trained.network import Trained
from convmixer.trained.views import View
from convmixer.training.hardware import autocast, choose_device, choose_precision, keep_freed_memory


class Classifier:
    """A trained network on a device, in the precision of its training."""

    def __init__(self, trained: Trained, device: str = "auto", precision: str | None = None) -> None:
        """Move the network to a device.

        Args:
            device: a value of the key `device`.
            precision: a value of the key `precision`; None: the one in training.

        Raises:
            UserError: the device is not available, or does not support the precision.
        """
        keep_freed_memory()
        self.trained = trained
        self.device = choose_device(device)
        self.precision = choose_precision(precision or trained.configs["precision"], self.device)
        self.model = trained.model.to(device=self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits: uint8 `[batch, height, width, channels]` -> float32 `[batch, classes]`, on the CPU.

        Raises:
            UserError: an output is not finite.
        """
        images = images.to(self.device)
        with autocast(self.device, self.precision):
            logits = self.model(self.trained.normalise(images))
        logits = logits.float().cpu()
        self.trained.check_finite(logits)
        return logits

    def mean_logits(self, images: Tensor, views: Sequence[View]) -> Tensor:
        """Return the weighted mean of the logits of several views of each image, as `logits` does of the images."""
        return torch.stack([view.weight * self.logits(view.of(images)) for view in views]).sum(0)
