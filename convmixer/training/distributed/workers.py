"""Workers that train one network together, as each of them sees it: its part of every batch, and what they exchange.

torchrun starts them; torch's DistributedDataParallel adds up their gradients, over gloo between CPUs and NCCL between
GPUs. A process by itself is `ALONE`, for which all of this is nothing.

What they compute is what one process computes on the whole batch. Every random draw is a function of (seed, epoch,
image), so a worker takes its part of each batch; losses are sums divided by the size of the whole batch, so gradients
add up; BatchNorm's statistics can be those of the whole batch (`global_batch_norm`).
"""

import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import reduce
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from convmixer.console import one_line
from convmixer.errors import UserError
from convmixer.training.distributed import torchrun

LOST_AFTER = timedelta(seconds=25)  # without an answer; a connection that closes, as a killed worker's, is seen at once
JOINING = timedelta(minutes=5)
PREPARATION = timedelta(hours=2)  # one worker may decode a large data set while the others wait

T = TypeVar("T")


class Workers:
    """Those that train together, seen from number `rank` of `world_size`.

    Args:
        group: for numbers on the host. Tensors of the training go through it too, unless they are on GPUs.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, group: dist.ProcessGroup | None = None) -> None:
        self.rank = rank
        self.world_size = world_size
        self.group = self.training_group = group

    def __repr__(self) -> str:
        """labml records it with the configs."""
        return f"{self.world_size} workers" if self.world_size > 1 else "one process"

    @property
    def is_first(self) -> bool:
        """Whether this is the one that records the run, prints and tests."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1

    def parts(self, n: int, at_once: int | None = None) -> list[slice]:
        """Which of a batch's `n` images are this worker's: a slice for each time that images go through the network.

        Args:
            at_once: images, of all workers together, that go through the network at a time; all of them by default.
        """
        size = at_once or n
        return [self._share(start, min(start + size, n)) for start in range(0, n, size)]

    def _share(self, start: int, end: int) -> slice:
        """Of images `start` to `end`: shares differ by one at most, the first workers have the larger ones."""
        least, more = divmod(end - start, self.world_size)
        first = start + self.rank * least + min(self.rank, more)
        return slice(first, first + least + (self.rank < more))

    def use(self, device: torch.device) -> None:
        """Exchange tensors that are on `device`."""
        if self.is_alone or device.type != "cuda":
            return
        torch.cuda.set_device(device)
        self.training_group = dist.new_group(backend="nccl", timeout=LOST_AFTER)

    def data_parallel(self, forward: nn.Module, share_statistics: bool) -> nn.Module:
        """`forward`, with gradients that are the sums over all workers after `backward()`.

        Args:
            share_statistics: before each pass all take BatchNorm's running statistics, where they are each one's own,
                from the first.
        """
        if self.is_alone:
            return forward
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # its new name is not in torch 2.11
            together = DistributedDataParallel(
                forward, process_group=self.training_group, broadcast_buffers=share_statistics
            )
        together.register_comm_hook(self, add_in_order if self.training_group is self.group else add)
        return together

    def no_sync(self, forward: nn.Module, more_follow: bool) -> AbstractContextManager:
        """The context of one of a batch's passes: gradients are exchanged by the last one, after which none follow."""
        return forward.no_sync() if more_follow and not self.is_alone else nullcontext()

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Let the running statistics of `model`, which each worker may have of its own images, be the first one's."""
        for buffer in [] if self.is_alone else model.buffers():
            dist.broadcast(buffer, src=0, group=self.training_group)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers, in place."""
        if not self.is_alone:
            dist.all_reduce(tensor, group=self.group if tensor.is_cpu else self.training_group)
        return tensor

    def all_gather(self, tensor: Tensor) -> Tensor:
        """All workers' tensors of one size, `[world_size, n]`, of each one's `[n]`."""
        if self.is_alone:
            return tensor[None]
        gathered = tensor.new_empty(self.world_size * len(tensor))
        dist.all_gather_into_tensor(gathered, tensor, group=self.training_group)
        return gathered.view(self.world_size, -1)

    def all_reduce_max(self, number: int | None) -> int | None:
        """The largest number of all workers; None counts as 0 and is what comes of it. So all stop at one signal."""
        if self.is_alone:
            return number
        numbers = torch.tensor([number or 0])
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.group)
        return int(numbers) or None

    def broadcast(self, value: T | None) -> T | None:
        """What the first worker gives. The others may wait for it as long as preparing may take."""
        if self.is_alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def sharing_errors(self) -> AbstractContextManager:
        """While entered, a UserError in one worker becomes a UserError in all, at the end."""
        return nullcontext() if self.is_alone else _SharedErrors(self)

    def leave(self) -> None:
        """End the exchange: the others are done, the first has still to test. Without it the process would abort."""
        if dist.is_initialized() and not self.is_alone:
            dist.destroy_process_group()


ALONE = Workers()


class _SharedErrors(AbstractContextManager):
    def __init__(self, workers: Workers) -> None:
        self.workers = workers

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> None:
        if error is not None and not isinstance(error, UserError):
            return
        problems: list[str | None] = [None] * self.workers.world_size
        dist.all_gather_object(problems, str(error) if error else None)
        wrong = [rank for rank, problem in enumerate(problems) if problem]
        if wrong:
            where = f"worker {wrong[0]}: " if wrong[0] else ""
            raise UserError(f"{where}{problems[wrong[0]]}") from None


def join() -> Workers:
    """Meet the other workers that torchrun started.

    Raises:
        UserError: they do not all appear.
    """
    world_size = int(os.environ["WORLD_SIZE"])
    if world_size == 1:
        return ALONE
    try:
        store = torchrun.meet(JOINING)
        dist.init_process_group("gloo", store=store, rank=torchrun.rank(), world_size=world_size, timeout=PREPARATION)
        return Workers(torchrun.rank(), world_size, dist.new_group(backend="gloo", timeout=LOST_AFTER))
    except RuntimeError as error:
        raise UserError(f"torchrun: the {world_size} workers did not meet: {one_line(error)}") from None


def local_device(device: torch.device) -> torch.device:
    """The GPU of this worker, of those of its machine; on the CPU, the CPU.

    Raises:
        UserError: this machine has fewer GPUs than workers.
    """
    if device.type != "cuda" or not torchrun.is_launched():
        return device
    gpus, workers = torch.cuda.device_count(), torchrun.local_workers()
    if workers > gpus:
        raise UserError(f"torchrun: {workers} workers on a machine of {gpus} GPUs; device=cpu trains without them")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def is_loss_of_a_worker(error: Exception) -> bool:
    """Whether an exchange failed: another worker has ended, is out of reach, or has not answered in time."""
    phrases = ("gloo", "NCCL", "onnection closed by peer", "onnection reset by peer", "Timed out waiting")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
    )


Added = torch.futures.Future[Tensor]


def add(workers: Workers, bucket: dist.GradBucket) -> Added:
    """DDP's hook on GPUs: sums, not means, as each worker's loss is divided by the whole batch's size already."""
    work = dist.all_reduce(bucket.buffer(), group=workers.training_group, async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def add_in_order(workers: Workers, bucket: dist.GradBucket) -> Added:
    """The same on CPUs, added in the order of the workers.

    gloo's own sum begins at another worker for each chunk of a bucket, and DDP packs buckets anew after the first
    update: with 3 workers or more, a resumed run would get other bits than one that was not stopped.
    """
    own = bucket.buffer()
    gathered = own.new_empty(workers.world_size * len(own))
    work = dist.all_gather_into_tensor(gathered, own, group=workers.training_group, async_op=True)
    return work.get_future().then(lambda _: reduce(torch.add, gathered.view(workers.world_size, -1)))
