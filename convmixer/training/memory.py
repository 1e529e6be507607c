"""Finds, after memory ran out, the largest batch that fits, and gives advice."""

import gc
import traceback

import torch

from convmixer.console import one_line
from convmixer.training.hardware import give_back_freed_memory
from convmixer.training.trainer import Trainer

# The messages of torch, its allocators and oneDNN ("could not create a primitive"), if they raise other error types.
PHRASES = ("can't allocate memory", "out of memory", "bad_alloc", "could not create a")
RESOLUTION = 16  # the size is found to within 1/16 of itself


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that the memory of the machine or of the GPU ran out."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(p in str(error) for p in PHRASES)


def advice(trainer: Trainer, error: Exception) -> str:
    """Return one line about the batch that did not fit and the largest that does, measured with `trainer`.

    The measurement destroys the trainer's weights.
    """
    said = one_line(error, 120)
    if not _was_in_update(error):
        return f"out of memory while evaluating: give a smaller valid_batch_size ({said})"
    if not trainer.workers.is_alone:  # a measurement needs all workers
        return f"out of memory: give a smaller train_batch_size, or a micro_batch_size ({said})"
    traceback.clear_frames(error.__traceback__)  # frees the activations of the update that failed
    gc.collect()
    key = "micro_batch_size" if trainer.micro_batch_size else "train_batch_size"
    batch = trainer.train.batch_size
    failed = min(trainer.micro_batch_size or batch, trainer.train.n_images)
    fits, too_large = largest_batch_size(trainer, failed)
    if fits == 0:
        return f"out of memory: not even {too_large} images at once fit (measured); give a smaller network ({said})"
    part = max(n for n in range(1, fits + 1) if batch % n == 0)
    return (
        f"out of memory: {key}={failed} does not fit; {fits} does, {too_large} does not (measured); "
        f"micro_batch_size={part} would keep train_batch_size={batch}"
    )


def _was_in_update(error: Exception) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is Trainer.train_step.__code__ for frame, _ in frames)


def largest_batch_size(trainer: Trainer, failed: int) -> tuple[int, int]:
    """Return the largest number of images whose update fits, 0 if none does, and the smallest that did not fit.

    It doubles from 2 images on, then bisects, with whole updates.

    Args:
        failed: a number of images that does not fit.
    """
    trainer.micro_batch_size = None
    fits, too_large, n = 0, failed, 2
    while n < too_large and too_large - fits > max(1, fits // RESOLUTION):
        if _fits(trainer, n):
            fits = n
        else:
            too_large = n
        n = max(2, min(2 * fits, (fits + too_large) // 2))
    return fits, too_large


def _fits(trainer: Trainer, n: int) -> bool:
    trainer.optimizer.zero_grad(set_to_none=True)
    give_back_freed_memory()
    trainer.step, trainer.total_steps = 0, 1
    trainer.train.batch_size = n
    try:
        trainer.train_step(next(trainer.train.epoch()))
        trainer.take_sums()  # waits for the device
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
