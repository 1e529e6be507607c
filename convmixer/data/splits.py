"""Data sets: splits of uint8 images with their labels, in memory or mapped from a file."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from convmixer.errors import UserError

COUNTED_AT_ONCE = 1000  # images
USUAL_VALIDATION = 5000  # images held out of CIFAR-10's 50,000

log = logging.getLogger("convmixer")


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Channels come last, so a batch gathered by index is already in torch's channels_last layout. The images may be
    mapped from a file that is larger than memory, and must not be written to: `pick` some at a time.

    Attributes:
        stored: uint8 `[m, height, width, channels]`.
        labels: int64 `[n]`.
        rows: int64 `[n]`, which of `stored` are the split's images; None: all, in their order.
    """

    stored: Tensor
    labels: Tensor
    rows: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """All its images: uint8 `[n, height, width, channels]`; copied where they are some of those stored."""
        return self.stored if self.rows is None else self.stored.index_select(0, self.rows)

    def pick(self, index: Tensor) -> Tensor:
        """The images of the labels at `index`, `[batch]`: uint8 `[batch, height, width, channels]`, copied."""
        return self.stored.index_select(0, index if self.rows is None else self.rows[index])

    def in_memory(self, device: torch.device) -> "Split":
        """The same split with nothing but its own images, on a device."""
        return Split(self.images.to(device), self.labels.to(device))

    @property
    def bytes(self) -> int:
        """The size of its images in memory."""
        return len(self.labels) * self.stored[0].numel()

    def __repr__(self) -> str:
        return f"{len(self.labels):,} images"


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, and the name every result on them carries.

    Attributes:
        name: `cifar10`, `cifar100`, `shapes`, or an image tree's folder name.
        classes: the classes' names, by label.
        mean: per channel over the training images, on a scale of 0 to 1.
        std: likewise.
        fallback: why this is `shapes` although CIFAR-10 was wanted, as a banner of several lines; else None.
        valid: the validation split that its source has; None where it has none.
        note: a line about how its images were brought to one size; None where they had one.
        has_own_test: False where the test split was taken from the images, as the source has none.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fallback: str | None = None
    valid: Split | None = None
    note: str | None = None
    has_own_test: bool = True

    def __repr__(self) -> str:
        return self.name


def measured(name: str, classes: tuple[str, ...], train: Split, test: Split) -> Dataset:
    """A `Dataset` with the mean and standard deviation of its training images."""
    mean, std = channel_statistics(train.images)
    return Dataset(name, classes, train, test, mean, std)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel on a scale of 0 to 1, exact: they come from the 256 counts.

    Args:
        images: uint8 `[n, height, width, channels]`.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(images.shape[-1], 256, dtype=torch.int64)
    for part in images.split(COUNTED_AT_ONCE):
        for count, channel in zip(counts, part.unbind(-1), strict=True):
            count += torch.bincount(channel.reshape(-1), minlength=256)
    means, deviations = [], []
    for share in counts.double() / (images.numel() // images.shape[-1]):
        mean = share @ values
        means.append(mean.item())
        deviations.append((share @ (values - mean) ** 2).sqrt().item())
    return tuple(means), tuple(deviations)


def train_and_valid(dataset: Dataset, size: int | None, seed: int) -> tuple[Split, Split]:
    """Return what to train on and the validation split.

    Args:
        size: this many images are taken out of the training images, at random by `seed`. None: the validation split
            that the source has; where it has none, 5,000 images, or a tenth where those would be more than half.

    Raises:
        UserError: there are not so many images.
    """
    if size is None and dataset.valid is not None:
        return dataset.train, dataset.valid
    if dataset.valid is not None:
        log.info("%s: its own validation images are not used, as data.validation=%d", dataset.name, size)
    return split_validation(dataset.train, _default_size(dataset.train) if size is None else size, seed)


def _default_size(train: Split) -> int:
    n = len(train.labels)
    if n / 2 >= USUAL_VALIDATION:
        return USUAL_VALIDATION
    most = n - int(torch.bincount(train.labels).count_nonzero())
    size = min(most, max(1, round(n / 10)))
    log.info(
        "%s of the %s training images are held out for validation (data.validation=%d)", f"{size:,}", f"{n:,}", size
    )
    return size


def split_validation(train: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Take `size` images out of `train`, each class in proportion (to within one image), at random by `seed`.

    Every class keeps an image to train on; what it can't give the others do.

    Returns:
        What is left to train on and the validation split, both in the order of `train`.

    Raises:
        UserError: `size` is negative or leaves a class nothing to train on.
    """
    n = len(train.labels)
    counts = torch.bincount(train.labels)
    n_classes = int(counts.count_nonzero())
    if not 0 <= size <= n - n_classes:
        raise UserError(
            f"data.validation={size}: expected 0 to {n - n_classes}: there are {n:,} training images, and each of the "
            f"{n_classes:,} classes keeps one"
        )
    chosen = torch.zeros(n, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label, quota in enumerate(_quotas(counts, size)):
        members = (train.labels == label).nonzero().squeeze(1)
        chosen[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return _select(train, ~chosen), _select(train, chosen)


def _quotas(counts: Tensor, size: int) -> list[int]:
    """Shares of `size` proportional to `counts`: rounded down, then one more for the largest remainders.

    None is all of a class: the one more is then another's that has most left.
    """
    exact = counts * size
    quotas = exact // counts.sum()
    missing = size - int(quotas.sum())
    quotas[(exact % counts.sum()).argsort(descending=True, stable=True)[:missing]] += 1
    most = (counts - 1).clamp(min=0)
    quotas = quotas.minimum(most)
    while missing := size - int(quotas.sum()):
        left = most - quotas
        quotas[left.argsort(descending=True, stable=True)[: min(missing, int(left.count_nonzero()))]] += 1
    return quotas.tolist()


def _select(split: Split, mask: Tensor) -> Split:
    rows = mask.nonzero().squeeze(1)
    return Split(split.stored, split.labels[rows], rows if split.rows is None else split.rows[rows])
