"""A trained network with all that is needed to use it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convmixer.data.normalisation import Normalisation


@dataclass(frozen=True)
class Trained:
    """A trained network, in evaluation mode on the CPU, with its classes and the facts about its training.

    Attributes:
        name: the name of the run or of the file.
        model: the network.
        classes: the classes' names, by label; if `n_classes` was larger than the data's, the others are `unused N`.
        image_shape: height, width and channels of the images that it was trained on.
        mean: mean of each channel over those images, on a scale of 0 to 1.
        std: standard deviation of each channel, on the same scale; at least one level (`normalisation.SMALLEST_STD`).
        configs: every key's value in its training; for imported weights, their sizes, and defaults for the rest.
        summary: the results of its run; empty if the run has not ended, and for imported weights.
        data: the description of the images that it was trained on: `name`, `train_images`, and the above.
        given: the keys that were given for its training; None if a file does not hold them.
        imported: the source of imported weights; None if they were trained here.
    """

    name: str
    model: nn.Module
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    configs: dict[str, Any]
    summary: dict[str, Any]
    data: dict[str, Any]
    given: dict[str, Any] | None
    imported: str | None = None

    def normalise(self, images: Tensor) -> Tensor:
        """Return the model's input: uint8 `[batch, height, width, channels]` -> float32 `[batch, channels, height,
        width]`.
        """
        return Normalisation(self.mean, self.std, images.device)(images)
