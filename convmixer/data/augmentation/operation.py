"""The base class of operations, and a way to apply a different one to each image of a batch."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from convmixer.data.augmentation.draws import uniform


class Operation:
    """Changes each image of a batch by its own draws.

    Takes and gives uint8 or float images `[batch, height, width, channels]` with levels 0 to 255.
    """

    columns: ClassVar[int] = 2  # draws for each image
    is_mild: ClassVar[bool] = False  # stays on at the end of a training, where `augment.off_for` turns others off

    def draw(self, n: int, seed: int, epoch: int, name: str) -> Tensor:
        """An epoch's draws for all `n` images of the data set, uniform in [0, 1), on the host: `[n, columns]`."""
        return uniform(n, self.columns, seed, epoch, name)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the images that it gives, for those of the images given."""
        return height, width

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """The changed images; those given stay as they are. `draws`: `[batch, columns]`, on the host."""
        raise NotImplementedError


def apply_each(images: Tensor, which: Tensor, operations: Sequence[Callable[[Tensor, Tensor], Tensor]]) -> Tensor:
    """Apply to each image the one of several operations that `which` says.

    Which it is is known on the host, so that nothing waits for the device.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        which: int64 `[batch]`, on the host: places in `operations`.
        operations: take some of the images, and the int64 places of these in the batch, on the host.
    """
    by_operation = which.argsort(stable=True)
    sizes = which.bincount(minlength=len(operations)).tolist()
    sorted_images = images.index_select(0, by_operation.to(images.device, non_blocking=True))
    groups = zip(operations, sorted_images.split(sizes), by_operation.split(sizes), strict=True)
    changed = torch.cat([operation(group, rows) for operation, group, rows in groups if len(rows)])
    return changed.index_select(0, by_operation.argsort().to(images.device, non_blocking=True))


def to_levels(images: Tensor) -> Tensor:
    """Whole levels, uint8, of uint8 or float images."""
    if images.dtype == torch.uint8:
        return images
    return truncate(images.round())


def truncate(levels: Tensor) -> Tensor:
    """Float levels to uint8, cut off at 0 and 255. By way of int32, which is several times as quick on a CPU."""
    return levels.clamp(0, 255).to(torch.int32).to(torch.uint8)
