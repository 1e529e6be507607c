"""Pixels to the numbers that a network sees."""

import torch
from torch import Tensor


class Normalisation:
    """Subtracts the mean of each channel and divides by its standard deviation.

    Args:
        mean: of each channel, on a scale of 0 to 1.
        std: likewise.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self.mean = torch.tensor(mean, device=device) * 255
        self.scale = 1 / (torch.tensor(std, device=device).clamp(min=1e-6) * 255)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 or float `[batch, height, width, channels]` to float32 `[batch, channels, height, width]`."""
        width = images.shape[2]
        # A whole row of pixels at once: arithmetic on rows is vectorised, that on three channels is not.
        rows = images.flatten(2).float().sub(self.mean.repeat(width)).mul_(self.scale.repeat(width))
        return rows.view(images.shape).permute(0, 3, 1, 2)
