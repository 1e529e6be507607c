"""What torchrun tells the workers it starts: through the environment, and through a store that outlives them.

Nothing here imports torch before it must: the command line asks first of all whether there are workers.
"""

import os
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store

STORE_TIMEOUT = timedelta(seconds=10)


def is_launched() -> bool:
    """Whether this process is one of several that train together, or the only one that torchrun was asked for."""
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def rank() -> int:
    """The number of this worker among all, 0 where there is but one process."""
    return int(os.environ["RANK"]) if is_launched() else 0


def local_workers() -> int:
    """Workers on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def restarts() -> int:
    """How many times torchrun has started its workers anew because one had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launcher() -> str:
    """How scripts are started here."""
    return f"torchrun --nproc-per-node={local_workers()}" if is_launched() else "python"


def job() -> str:
    """A name that all workers of a job share, restarted ones too: `--rdzv-id`, or one that torchrun's store keeps."""
    given = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return given if given != "none" else _store().compare_set("convmixer/job", "", uuid.uuid4().hex).decode()


def is_first_to_say() -> bool:
    """Whether no worker of this start has asked before: what ends all of them is said once."""
    if not is_launched():
        return True
    try:
        return _store().add(f"convmixer/said/{restarts()}", 1) == 1
    except RuntimeError:  # the store was the first worker's own, and is gone
        return rank() == 0


def _store() -> "Store":
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=STORE_TIMEOUT)
