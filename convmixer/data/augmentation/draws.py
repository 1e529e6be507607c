"""Random numbers that are a function of a place in the experiment: seed, epoch, operation and index of the image.

Never of batch boundaries, of the order of calls or of the device: they are made on the host, for all images of an epoch
at once. So a resumed run, or one split into other batches, sees the same images.
"""

import hashlib

import numpy as np
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


def beta(n: int, alpha: float, *place: object) -> Tensor:
    """Numbers in [0, 1] for `n` images from Beta(alpha, alpha): `[n]`."""
    generator = np.random.default_rng(random_seed(*place))
    return torch.from_numpy(generator.beta(alpha, alpha, n)).float()


def between(draws: Tensor, low: float, high: float) -> Tensor:
    """Uniform in [low, high) for draws that are uniform in [0, 1)."""
    return low + (high - low) * draws


def normal(draws: Tensor) -> Tensor:
    """Standard normal for draws that are uniform in [0, 1), within 5.3 standard deviations."""
    return torch.special.ndtri(draws.clamp(2**-24, 1 - 2**-24))


def below(draws: Tensor, n: int) -> Tensor:
    """Integers 0 to n - 1, equally likely, for draws that are uniform in [0, 1)."""
    return (draws * n).long()
