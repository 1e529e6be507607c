"""Whole-batch augmentation on the training device: uint8 images in, uint8 images out, no loop over images.

Every draw is a function of (seed, epoch, operation, index of the image in the data set), never of batch boundaries or
the order of calls. So a resumed run, or one split into other batches, sees the same images.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def random_seed(*parts: object) -> int:
    """One 63-bit seed for a place in the experiment, e.g. `random_seed(seed, epoch, "flip")`."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniform(n: int, columns: int, *place: object) -> Tensor:
    """Numbers in [0, 1) for `n` images: `[n, columns]`, the same on every device for the same `place`."""
    generator = torch.Generator().manual_seed(random_seed(*place))
    return torch.rand(n, columns, generator=generator)


def flip(images: Tensor, draws: Tensor, pixels: int) -> Tensor:
    """Mirror each image left-right with probability 1/2.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        draws: `[batch, 2]`; the first column is used.
    """
    mirrored = draws[:, 0, None, None, None] < 0.5
    return torch.where(mirrored, images.flip(2), images)


def translate(images: Tensor, draws: Tensor, pixels: int) -> Tensor:
    """Shift each image by up to `pixels` either way on each axis; what comes in is the reflection of the edge.

    The same as cropping at random from the image padded by `pixels` with reflection.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        draws: `[batch, 2]`: down, right.
    """
    batch, height, width, _ = images.shape
    shift = (draws * (2 * pixels + 1)).long() - pixels
    rows = _reflect(torch.arange(height, device=images.device) + shift[:, 0, None], height)
    columns = _reflect(torch.arange(width, device=images.device) + shift[:, 1, None], width)
    image = torch.arange(batch, device=images.device)[:, None, None]
    return images[image, rows[:, :, None], columns[:, None, :]]


def _reflect(index: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - index.abs()).abs()


OPERATIONS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "translate": translate,
    "flip": flip,
}


class Augmentation:
    """Operations by name, applied in the order given, to the batches of a data set of `n` images."""

    def __init__(self, operations: Sequence[str], pixels: int, seed: int, n: int) -> None:
        self.operations = tuple(operations)
        self.pixels = pixels
        self.seed = seed
        self.n = n

    def draws(self, epoch: int, device: torch.device) -> dict[str, Tensor]:
        """An epoch's draws for every image, by operation: `[n, 2]` each."""
        return {name: uniform(self.n, 2, self.seed, epoch, name).to(device) for name in self.operations}

    def __call__(self, images: Tensor, index: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Augment `images`, uint8 `[batch, height, width, channels]`, which are those at `index`, `[batch]`."""
        for name in self.operations:
            images = OPERATIONS[name](images, draws[name][index], self.pixels)
        return images
