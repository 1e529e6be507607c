"""Turns the end of a training that stops early into one line: the reason, and how to resume."""

import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convmixer.console import one_line
from convmixer.errors import Interrupted, TrainingFault
from convmixer.project import project_folder
from convmixer.training import memory
from convmixer.training.distributed.workers import is_loss_of_a_worker
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer


@contextmanager
def in_one_line(
    trainer: Trainer, stop: StopRequest, how_to_resume: Callable[[Exception | None], str]
) -> Iterator[None]:
    """Turn an exception that ends a training into an error of one line: the reason, and how to resume.

    Raises:
        Interrupted: a signal stopped the training.
        TrainingFault: something else did that is no mistake in the code.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(how_to_resume(None), stop.signal or signal.SIGINT) from None
    except Exception as error:
        reason = _reason(error, trainer)
        if reason is None:
            raise  # a mistake in code, perhaps in the user's own layer: the traceback shows where
        raise TrainingFault(f"{reason}; {how_to_resume(error)}") from error


def _reason(error: Exception, trainer: Trainer) -> str | None:
    """Return the cause in one line; None if it is a mistake in the code."""
    text = one_line(error, 300)
    if memory.is_out_of_memory(error):
        return memory.advice(trainer, error)
    if is_loss_of_a_worker(error):
        return "another worker ended or did not answer"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or project_folder()})"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) or text.startswith("CUDA error"):
        return text
    return str(error) if isinstance(error, TrainingFault) else None
