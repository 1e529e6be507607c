"""Batches made on the training device: shuffled, augmented, normalised; no workers.

The images lie on that device, or stay where they are, perhaps in a file larger than memory, and come when needed.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from convmixer.data.augmentation import Augmentation, random_seed
from convmixer.data.augmentation.mixing import mix_labels, partners
from convmixer.data.normalisation import Normalisation
from convmixer.data.splits import Dataset, Split

Batch = tuple[Tensor, Tensor]

# Pixels that an operation is called for: on a CPU 512 images of 32x32, as more don't fit into its caches; on a GPU 8192
# of them, as each call costs the host some microseconds.
PIXELS_ON_CPU, PIXELS_ON_GPU = 2**19, 2**23


class Batches:
    """The batches of a split: float32 images `[batch, channels, height, width]`, channels_last, int64 labels `[batch]`.

    Every image comes once an epoch; the last batch may be smaller. With `seed` the order is shuffled, anew each epoch.
    Where the augmentation mixes images, labels are probabilities, float32 `[batch, n_classes]`.

    Args:
        resident: keep all images on the device; otherwise each batch's are brought to it, to the same bits.
        parts: which of a batch of so many images to make, in that order; all of them by default.

    Attributes:
        fully_augmented: the number of batches, over all epochs, until only mild operations are applied; None: all.
    """

    def __init__(
        self,
        split: Split,
        dataset: Dataset,
        batch_size: int,
        device: torch.device,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
        n_classes: int | None = None,
        resident: bool = True,
        parts: Callable[[int], list[slice]] | None = None,
    ) -> None:
        self.split = split.in_memory(device) if resident else split
        self.is_resident = resident
        self.labels = split.labels.to(device)
        self.batch_size = batch_size
        self.device = device
        self.seed = seed
        self.augmentation = augmentation
        self.n_classes = n_classes or len(dataset.classes)
        self.parts = parts or (lambda n: [slice(0, n)])
        self.normalise = Normalisation(dataset.mean, dataset.std, device)
        self.fully_augmented: int | None = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self.n_images / self.batch_size)

    @property
    def n_images(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> int:
        """The number of pixels of an image."""
        return self.split.stored[0, ..., 0].numel()

    @property
    def share_of_pixels(self) -> float:
        """The number of pixels of a fully augmented image, as a share of those of an image."""
        height, width = self.split.stored.shape[1:3]
        rows, columns = self.augmentation.shape(height, width) if self.augmentation else (height, width)
        return rows * columns / (height * width)

    def epoch(self, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `first` on."""
        order = self.order(epoch)
        others = partners(order)
        at_once = self._batches_at_once()
        for augmentation, numbers in self._stretches(epoch, first):
            draws = augmentation.draws(epoch) if augmentation else {}
            for start in range(0, len(numbers), at_once):
                places = [self._places(number) for number in numbers[start : start + at_once]]
                sizes = [len(p) for p in places]
                # Where no image is this worker's, one is made all the same, and none of it taken.
                part = torch.cat(places) if any(sizes) else torch.zeros(1, dtype=torch.int64)
                if augmentation and augmentation.mixing:
                    images, labels = self._mixed(order[part], others[part], augmentation, draws)
                else:
                    images, labels = self._pick(order[part], augmentation, draws)
                images = self.normalise(images)[: sum(sizes)]
                yield from zip(images.split(sizes), labels[: sum(sizes)].split(sizes), strict=True)

    def _stretches(self, epoch: int, first: int) -> Iterator[tuple[Augmentation | None, range]]:
        """Yield an epoch's batches from number `first` on, with their augmentation: all of it, then what is mild."""
        n, augmentation = len(self), self.augmentation
        until = n if self.fully_augmented is None else min(n, self.fully_augmented - epoch * n)
        if first < until:
            yield augmentation, range(first, until)
        if until < n:
            yield augmentation and augmentation.mild, range(max(first, until), n)

    def length(self, number: int) -> int:
        """Images in an epoch's batch, of all workers."""
        return min(self.batch_size, self.n_images - number * self.batch_size)

    def _places(self, number: int) -> Tensor:
        """Return the places, in the epoch's order, of the images to make for a batch."""
        start = number * self.batch_size
        parts = [torch.arange(start + p.start, start + p.stop) for p in self.parts(self.length(number))]
        return torch.cat(parts)

    def _batches_at_once(self) -> int:
        """Return how many batches to make at once, so that arithmetic takes the time, not the calls of operations."""
        pixels = PIXELS_ON_CPU if self.device.type == "cpu" else PIXELS_ON_GPU
        return max(1, pixels // (self.batch_size * self.pixels))

    def _pick(self, index: Tensor, augmentation: Augmentation | None, draws: dict[str, Tensor]) -> Batch:
        """Images, augmented but not normalised, and labels of the data set's `index`, `[batch]`."""
        there = index.to(self.device, non_blocking=True)
        images = self.raw(index)
        if augmentation:
            images = augmentation(images, index, draws)
        return images, self.labels.index_select(0, there)

    def raw(self, index: Tensor) -> Tensor:
        """Images as they are, on the device: uint8 `[batch, height, width, channels]`."""
        if self.is_resident:
            return self.split.pick(index.to(self.device, non_blocking=True))
        images = self.split.pick(index)
        if self.device.type == "cuda":  # the next ones are gathered while these travel and are trained on
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True)

    def _mixed(self, index: Tensor, others: Tensor, augmentation: Augmentation, draws: dict[str, Tensor]) -> Batch:
        """Pick images, each mixed with the one at `others`, which is augmented by its own draws."""
        both, place = torch.cat([index, others]).unique(return_inverse=True)
        images, labels = self._pick(both, augmentation, draws)
        own, other = place.to(self.device, non_blocking=True).chunk(2)
        images, other_images = images.index_select(0, own), images.index_select(0, other)
        images, share = augmentation.mixing(images, other_images, draws["mixing"][index])
        return images, mix_labels(labels[own], labels[other], share, self.n_classes)

    def order(self, epoch: int) -> Tensor:
        """The images' numbers in the order of an epoch: `[n]`, on the host."""
        if self.seed is None:
            return torch.arange(self.n_images)
        generator = torch.Generator().manual_seed(random_seed(self.seed, epoch, "order"))
        return torch.randperm(self.n_images, generator=generator)
