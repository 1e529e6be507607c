"""Turns pixels into the numbers that a network sees."""

import torch
from torch import Tensor

# One level. A channel that hardly varies over the training images would be blown up by its deviation: a level more,
# which is what JPEG adds, would then outweigh everything else that a network sees.
SMALLEST_STD = 1 / 255


def floored(std: tuple[float, ...]) -> tuple[float, ...]:
    """The standard deviations that are divided by, on a scale of 0 to 1: none below `SMALLEST_STD`."""
    return tuple(max(deviation, SMALLEST_STD) for deviation in std)


class Normalisation:
    """Subtracts the mean of each channel and divides by its standard deviation, or by one level where that is more.

    Args:
        mean: of each channel, on a scale of 0 to 1.
        std: likewise.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self.mean = torch.tensor(mean, device=device) * 255
        self.scale = 1 / (torch.tensor(floored(std), device=device) * 255)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 or float `[batch, height, width, channels]` to float32 `[batch, channels, height, width]`."""
        width = images.shape[2]
        # A whole row of pixels at once: arithmetic on rows is vectorised, that on three channels is not.
        rows = images.flatten(2).float().sub(self.mean.repeat(width)).mul_(self.scale.repeat(width))
        return rows.view(images.shape).permute(0, 3, 1, 2)
