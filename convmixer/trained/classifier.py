"""Runs a trained network on a device: from uint8 images to logits."""

import torch
from torch import Tensor

from convmixer.errors import UserError
from convmixer.trained.network import Trained
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
    def logits(self, images: Tensor, mirrored: bool = False) -> Tensor:
        """Return the logits: uint8 `[batch, height, width, channels]` -> float32 `[batch, classes]`, on the CPU.

        Args:
            mirrored: first flip the images left to right.

        Raises:
            UserError: an output is not finite.
        """
        images = images.to(self.device)
        with autocast(self.device, self.precision):
            logits = self.model(self.trained.normalise(images.flip(2) if mirrored else images))
        logits = logits.float().cpu()
        if not logits.isfinite().all():
            raise UserError(
                f"{self.trained.name}: the outputs are not finite: try precision=float32; else the weights are damaged"
            )
        return logits
