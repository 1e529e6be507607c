"""A trained network with all that is needed to use it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from convmixer.data.normalisation import Normalisation
from convmixer.errors import UserError
from convmixer.trained.image_input import ImageInput, batch, is_one_image

AT_ONCE = 64  # images


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

    def predict(self, images: ImageInput | Iterable[ImageInput]) -> dict[str, float] | list[dict[str, float]]:
        """Classify an image: return its classes with their probabilities, the most probable first.

        >>> from convmixer import load
        >>> trained = load("weights/small-cifar10.safetensors")
        >>> probabilities = trained.predict(torch.zeros(3, 32, 32))
        >>> len(probabilities), f"{sum(probabilities.values()):.4f}"
        (10, '1.0000')

        Args:
            images: one image, or several: a list, or an array or tensor with a first axis more. An image is a path or
                the bytes of an image file of any size and format, a Pillow image, or an array or tensor of its pixels,
                uint8 or from 0 to 1, not normalised. It is brought to the size that the network was trained on.

        Returns:
            The probability of every class by its name; of several images a list of such, in their order.

        Raises:
            UserError: something is no image, or can't be read; the outputs are not finite.
        """
        if is_one_image(images):
            return self._classify([images])[0]
        found, rest = [], iter(images)
        while some := list(islice(rest, AT_ONCE)):
            found += self._classify(some)
        return found

    def check_finite(self, logits: Tensor) -> None:
        """Check that outputs are numbers: a network that diverged says nothing about an image.

        Raises:
            UserError: one is not finite.
        """
        if not logits.isfinite().all():
            raise UserError(
                f"{self.name}: the outputs are not finite: try precision=float32; else the weights are damaged"
            )

    @torch.inference_mode()
    def _classify(self, images: Iterable[ImageInput]) -> list[dict[str, float]]:
        device = next(self.model.parameters()).device
        logits = self.model(self.normalise(batch(images, self.image_shape).to(device)))
        self.check_finite(logits)
        values, labels = logits.cpu().double().softmax(1).sort(descending=True)
        rows = zip(labels.tolist(), values.tolist(), strict=True)
        return [dict(zip((self.classes[n] for n in order), shares, strict=True)) for order, shares in rows]
