"""A trained network with what it takes to use it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convmixer.data.normalisation import Normalisation


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, on the CPU.

    Attributes:
        name: the run's or the file's, as results on it are called.
        classes: the classes' names, by label; outputs beyond those of the data (`n_classes` was larger) are `unused N`.
        image_shape: height, width and channels of the images that it was trained on.
        mean: per channel over those images, on a scale of 0 to 1.
        std: likewise, at least one level (`normalisation.SMALLEST_STD`), as it is divided by.
        configs: every key's value in its training; of imported weights, their sizes, and defaults for the rest.
        summary: how its run ended; empty where it has not, and for imported weights.
        data: what was recorded of the images that it was trained on: `name`, `train_images`, and the above.
        given: the keys that were given for its training; None where a file does not tell.
        imported: what imported weights were brought in from; None for those trained here.
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
        """uint8 `[batch, height, width, channels]` to the model's input: float32 `[batch, channels, height, width]`."""
        return Normalisation(self.mean, self.std, images.device)(images)
