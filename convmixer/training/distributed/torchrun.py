"""Reads what torchrun tells its workers, through the environment and through a store that outlives them.

torch is imported only where it is needed: the command line first of all asks whether there are workers.
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
    """Return True if torchrun has started this process."""
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def rank() -> int:
    """Return the number of this worker among all, from 0; 0 without torchrun."""
    return int(os.environ["RANK"]) if is_launched() else 0


def local_workers() -> int:
    """Return the number of workers on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def restarts() -> int:
    """Return how many times torchrun has restarted its workers because one failed.

    Restarts because machines were added or removed do not count.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launcher() -> str:
    """Return the command that started this script, without the script."""
    return f"torchrun --nproc-per-node={local_workers()}" if is_launched() else "python"


def job() -> str:
    """Return a name that all workers of a job share, also restarted ones: `--rdzv-id`, or one in torchrun's store."""
    given = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return given if given != "none" else _store().compare_set("convmixer/job", "", uuid.uuid4().hex).decode()


@cache
def claim_error_message() -> bool:
    """Return True in the first worker that asks, now and later: it prints the error that ends all workers."""
    if not is_launched():
        return True
    try:
        return _store().add(f"convmixer/said/{_meeting or restarts()}", 1) == 1
    except RuntimeError:  # the store belonged to the first worker, which has ended
        return rank() == 0


def meet(patience: timedelta) -> "Store":
    """Return an empty store that the workers of this start share.

    torchrun's own store outlives the workers, and torch (2.15) takes the addresses of earlier workers in it for those
    of new ones, so about every second restart fails. The count of restarts can't be the name of a new store, as it does
    not change when machines are added or removed. So each worker asks under a new random name, and the first worker
    answers all that ask.

    Raises:
        RuntimeError: a worker did not come within `patience`.
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
            raise RuntimeError(f"not all of the {others} other workers came within {patience}")
        time.sleep(0.05)


@cache
def _store() -> "Store":
    """Return torchrun's store, which outlives its workers; if another program started them, the first worker's."""
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    is_ours = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return TCPStore(address, port, is_master=is_ours and rank() == 0, timeout=STORE_TIMEOUT)
