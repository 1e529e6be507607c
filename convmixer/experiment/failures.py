"""How a training that ends early is told: one line that says why, and how to go on."""

import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convmixer.configs import Configs
from convmixer.errors import Interrupted, TrainingFault
from convmixer.tracking.runs import project_folder
from convmixer.training import memory
from convmixer.training.distributed.workers import is_loss_of_a_worker
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer


@contextmanager
def in_one_line(conf: Configs, stop: StopRequest, how_to_go_on: Callable[[Exception | None], str]) -> Iterator[None]:
    """What ends a training early becomes an error with one line that says why, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {how_to_go_on(None)}", stop.signal or signal.SIGINT) from None
    except Exception as error:
        reason = _reason(error, conf.trainer)
        if reason is None:
            raise  # a mistake in code, the user's own layer perhaps: its traceback says where
        raise TrainingFault(f"{reason}; {how_to_go_on(error)}") from error


def _reason(error: Exception, trainer: Trainer) -> str | None:
    """What happened, in one line, where it is something that happens to right programs."""
    text = " ".join(str(error).split())
    if memory.is_out_of_memory(error):
        return memory.advice(trainer, error)
    if is_loss_of_a_worker(error):
        return "another worker ended, or did not answer"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or project_folder()})"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) or text.startswith("CUDA error"):
        return text[:300]
    return text if isinstance(error, TrainingFault) else None
