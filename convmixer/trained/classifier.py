"""A trained network at work on a device: images as they lie in memory in, logits out."""

import torch
from torch import Tensor

from convmixer.errors import UserError
from convmixer.trained.network import Trained
from convmixer.training.hardware import autocast, choose_device, choose_precision, keep_freed_memory


class Classifier:
    """A trained network on a device, in the precision of its training."""

    def __init__(self, trained: Trained, device: str = "auto", precision: str | None = None) -> None:
        """Move the network there.

        Args:
            device: as the key `device`.
            precision: as the key `precision`; None: as in training.

        Raises:
            UserError: the device is not there, or does not compute in that precision.
        """
        keep_freed_memory()
        self.trained = trained
        self.device = choose_device(device)
        self.precision = choose_precision(precision or trained.configs["precision"], self.device)
        self.model = trained.model.to(device=self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(self, images: Tensor, mirrored: bool = False) -> Tensor:
        """float32 `[batch, classes]`, on the CPU, for uint8 `[batch, height, width, channels]`.

        Args:
            mirrored: flip the images left to right first.

        Raises:
            UserError: an output is not finite.
        """
        images = images.to(self.device)
        with autocast(self.device, self.precision):
            logits = self.model(self.trained.normalise(images.flip(2) if mirrored else images))
        logits = logits.float().cpu()
        if not logits.isfinite().all():
            raise UserError(
                f"{self.trained.name}: its outputs are not finite: damaged weights, or give precision=float32"
            )
        return logits
