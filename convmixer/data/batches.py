"""Batches made on the training device from images that lie there: shuffled, augmented, normalised; no workers."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from convmixer.data.augmentation import Augmentation, random_seed
from convmixer.data.datasets import Dataset, Split

Batch = tuple[Tensor, Tensor]


class Batches:
    """The batches of a split: float32 images `[batch, channels, height, width]`, channels_last, int64 labels `[batch]`.

    Every image comes once an epoch; the last batch may be smaller. With `seed` the order is shuffled, anew each epoch.
    """

    def __init__(
        self,
        split: Split,
        dataset: Dataset,
        batch_size: int,
        device: torch.device,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images = split.images.to(device)
        self.labels = split.labels.to(device)
        self.batch_size = batch_size
        self.device = device
        self.seed = seed
        self.augmentation = augmentation
        self.mean = torch.tensor(dataset.mean, device=device) * 255
        self.scale = 1 / (torch.tensor(dataset.std, device=device).clamp(min=1e-6) * 255)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self.n_images / self.batch_size)

    @property
    def n_images(self) -> int:
        return len(self.labels)

    def epoch(self, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `first` on."""
        order = self.order(epoch)
        draws = self.augmentation.draws(epoch, self.device) if self.augmentation else {}
        for start in range(first * self.batch_size, self.n_images, self.batch_size):
            index = order[start : start + self.batch_size]
            images = self.images[index]
            if self.augmentation:
                images = self.augmentation(images, index, draws)
            yield self.normalise(images), self.labels[index]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 `[batch, height, width, channels]` to float32 `[batch, channels, height, width]`, channels_last."""
        return images.float().sub_(self.mean).mul_(self.scale).permute(0, 3, 1, 2)

    def order(self, epoch: int) -> Tensor:
        """The images' numbers in the order of an epoch: `[n]`."""
        if self.seed is None:
            return torch.arange(self.n_images, device=self.device)
        generator = torch.Generator().manual_seed(random_seed(self.seed, epoch, "order"))
        return torch.randperm(self.n_images, generator=generator).to(self.device)
