"""Computes the number of images in an update, and how several workers share them."""

from typing import TYPE_CHECKING

from convmixer.training.distributed.workers import Workers

if TYPE_CHECKING:
    from convmixer.configs.schema import Configs

SMALL_BATCH = 128  # images: the smallest batch of the paper and the recipes


def batch_size(c: "Configs", workers: Workers) -> int:
    """Return the number of images in an update, over all workers."""
    return c.train_batch_size * size_factor(c, workers)


def images_at_once(c: "Configs", workers: Workers) -> int | None:
    """Return how many images, over all workers, go through the network at a time; None: the whole batch."""
    return c.micro_batch_size and c.micro_batch_size * size_factor(c, workers)


def size_factor(c: "Configs", workers: Workers) -> int:
    """Return the factor for batch sizes and learning rate: with `batch_per_worker` the number of workers, else 1."""
    return workers.world_size if c.batch_per_worker else 1


def batch_norm_is_global(c: "Configs", workers: Workers) -> bool:
    """Return True if BatchNorm sees the images of all workers.

    By default it does if a worker has fewer than `SMALL_BATCH` images at a time, or none of an epoch's last batch.
    """
    if workers.is_alone or c.batch_norm_over != "auto":
        return not workers.is_alone and c.batch_norm_over == "batch"
    at_once = images_at_once(c, workers) or batch_size(c, workers)
    return at_once < SMALL_BATCH * workers.world_size or some_have_none(c, workers)


def some_have_none(c: "Configs", workers: Workers) -> bool:
    """Return True if in some batch a worker has no images."""
    return fewest_at_once(c, workers) < workers.world_size


def fewest_at_once(c: "Configs", workers: Workers) -> int:
    """Return the fewest images, of all workers, that go through the network at once: at the end of some batch."""
    n, whole = len(c.train_split.labels), batch_size(c, workers)
    at_once = images_at_once(c, workers) or whole
    return min(min(n, whole) % at_once or at_once, n % whole % at_once or at_once)
