"""What every data set is once it is in memory: two splits of uint8 images with their labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convmixer.errors import UserError


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Channels come last, so a batch gathered by index is already in torch's channels_last layout.

    Attributes:
        images: uint8 `[n, height, width, channels]`.
        labels: int64 `[n]`.
    """

    images: Tensor
    labels: Tensor

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
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fallback: str | None = None

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
    means, deviations = [], []
    for channel in images.unbind(-1):
        share = torch.bincount(channel.reshape(-1), minlength=256).double() / channel.numel()
        mean = share @ values
        means.append(mean.item())
        deviations.append((share @ (values - mean) ** 2).sqrt().item())
    return tuple(means), tuple(deviations)


def split_validation(train: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Take `size` images out of `train`, each class in proportion (to within one image), at random by `seed`.

    Returns:
        What is left to train on and the validation split, both in the order of `train`.

    Raises:
        UserError: `size` is negative or leaves nothing to train on.
    """
    n = len(train.labels)
    if not 0 <= size < n:
        raise UserError(f"data.validation={size}: expected 0 to {n - 1}, there are {n:,} training images")
    chosen = torch.zeros(n, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label, quota in enumerate(_quotas(torch.bincount(train.labels), size)):
        members = (train.labels == label).nonzero().squeeze(1)
        chosen[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return _select(train, ~chosen), _select(train, chosen)


def _quotas(counts: Tensor, size: int) -> list[int]:
    """Shares of `size` proportional to `counts`: rounded down, then one more for the largest remainders."""
    exact = counts * size
    quotas = exact // counts.sum()
    missing = size - int(quotas.sum())
    quotas[(exact % counts.sum()).argsort(descending=True, stable=True)[:missing]] += 1
    return quotas.tolist()


def _select(split: Split, mask: Tensor) -> Split:
    return Split(split.images[mask], split.labels[mask])
