"""How many images an update is made of, and how several workers share them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convmixer.configs import Configs

SMALL_BATCH = 128  # what the paper and the recipes train with at least


def batch_size(c: "Configs") -> int:
    """Images in an update, of all workers."""
    return c.train_batch_size * size_factor(c)


def images_at_once(c: "Configs") -> int | None:
    """How many of these go through the network at once, where it is not all of them."""
    return c.micro_batch_size and c.micro_batch_size * size_factor(c)


def size_factor(c: "Configs") -> int:
    """By which sizes that are each worker's grow, and the learning rate with them."""
    return c.workers.count if c.batch_per_worker else 1


def batch_norm_is_spread(c: "Configs") -> bool:
    """Whether BatchNorm sees the images of all workers.

    By default where a worker has fewer than `SMALL_BATCH` images at once, or none of an epoch's last batch.
    """
    if c.workers.is_alone or c.batch_norm_over != "auto":
        return not c.workers.is_alone and c.batch_norm_over == "batch"
    at_once = images_at_once(c) or batch_size(c)
    return at_once < SMALL_BATCH * c.workers.count or some_have_none(c)


def some_have_none(c: "Configs") -> bool:
    """Whether there is a time when a worker has no image to put through the network."""
    n, whole = len(c.train_split.labels), batch_size(c)
    at_once = images_at_once(c) or whole
    least = {min(n, whole) % at_once or at_once, n % whole % at_once or at_once}
    return min(least) < c.workers.count
