"""The number of images that an update is made of, and how several workers share them."""

from typing import TYPE_CHECKING

from convmixer.training.distributed.workers import Workers

if TYPE_CHECKING:
    from convmixer.configs.schema import Configs

SMALL_BATCH = 128  # what the paper and the recipes train with at least


def batch_size(c: "Configs", workers: Workers) -> int:
    """Images in an update, of all workers."""
    return c.train_batch_size * size_factor(c, workers)


def images_at_once(c: "Configs", workers: Workers) -> int | None:
    """Images of all workers that go through the network at once, where it is not the whole batch."""
    return c.micro_batch_size and c.micro_batch_size * size_factor(c, workers)


def size_factor(c: "Configs", workers: Workers) -> int:
    """The factor by which sizes that are each worker's grow, and the learning rate with them."""
    return workers.world_size if c.batch_per_worker else 1


def batch_norm_is_global(c: "Configs", workers: Workers) -> bool:
    """True if BatchNorm sees the images of all workers.

    By default where a worker has fewer than `SMALL_BATCH` images at once, or none of an epoch's last batch.
    """
    if workers.is_alone or c.batch_norm_over != "auto":
        return not workers.is_alone and c.batch_norm_over == "batch"
    at_once = images_at_once(c, workers) or batch_size(c, workers)
    return at_once < SMALL_BATCH * workers.world_size or some_have_none(c, workers)


def some_have_none(c: "Configs", workers: Workers) -> bool:
    """True if there is a time when a worker has no image to put through the network."""
    return fewest_at_once(c, workers) < workers.world_size


def fewest_at_once(c: "Configs", workers: Workers) -> int:
    """Images of all workers that go through the network at once, where they are fewest: at the end of some batch."""
    n, whole = len(c.train_split.labels), batch_size(c, workers)
    at_once = images_at_once(c, workers) or whole
    return min(min(n, whole) % at_once or at_once, n % whole % at_once or at_once)
