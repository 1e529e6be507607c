"""What torchrun tells the workers it starts: through the environment, and through a store that outlives them.

Nothing here imports torch before it must: the command line asks first of all whether there are workers.
"""

import os
import time
import uuid
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store

STORE_TIMEOUT = timedelta(seconds=30)


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
    """How many times torchrun has started its workers anew as one had failed; not as machines came or went."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launcher() -> str:
    """How scripts are started here."""
    return f"torchrun --nproc-per-node={local_workers()}" if is_launched() else "python"


def job() -> str:
    """A name that all workers of a job share, restarted ones too: `--rdzv-id`, or one that torchrun's store keeps."""
    given = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return given if given != "none" else _store().compare_set("convmixer/job", "", uuid.uuid4().hex).decode()


@cache
def claim_error_message() -> bool:
    """Claim to print the error that ends all workers: True in the first that asks, and whenever that one asks again."""
    if not is_launched():
        return True
    try:
        return _store().add(f"convmixer/said/{_meeting or restarts()}", 1) == 1
    except RuntimeError:  # the store was the first worker's own, and is gone
        return rank() == 0


def meet(patience: timedelta) -> "Store":
    """A store with nothing in it yet, shared by the workers of this start.

    torchrun's own outlives them, and torch (2.15) takes what earlier workers left there for the addresses of new ones:
    about every second restart fails by it. Nor is the count of restarts a name for what is new: it stays the same when
    machines come and go. So each worker asks under a name that never was, and the first one answers all that ask.

    Raises:
        RuntimeError: not all came within `patience`.
    """
    from torch.distributed import PrefixStore

    global _meeting
    store, workers = _store(), int(os.environ["WORLD_SIZE"])
    if rank() == 0:
        _meeting = uuid.uuid4().hex
        _answer_until_all_are_here(store, workers - 1, patience)
    else:
        me = uuid.uuid4().hex
        store.set(f"convmixer/asks/{rank()}", me)
        store.wait([f"convmixer/answer/{me}"], patience)
        _meeting = store.get(f"convmixer/answer/{me}").decode()
        store.add(f"convmixer/here/{_meeting}", 1)
    return PrefixStore(_meeting, store)


_meeting = ""


def _answer_until_all_are_here(store: "Store", others: int, patience: timedelta) -> None:
    end = time.monotonic() + patience.total_seconds()
    while store.add(f"convmixer/here/{_meeting}", 0) < others:
        for number in range(1, others + 1):
            if store.check([f"convmixer/asks/{number}"]):
                name = store.get(f"convmixer/asks/{number}").decode()
                store.set(f"convmixer/answer/{name}", _meeting)
        if time.monotonic() > end:
            raise RuntimeError(f"{others} others did not all come within {patience}")
        time.sleep(0.05)


@cache
def _store() -> "Store":
    """torchrun's, which outlives its workers; where another program has started them, the first one's."""
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    is_ours = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return TCPStore(address, port, is_master=is_ours and rank() == 0, timeout=STORE_TIMEOUT)
