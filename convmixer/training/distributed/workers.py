"""Divides batches among the workers that train one network together, and exchanges tensors and values among them.

torchrun starts the workers; torch's DistributedDataParallel adds up their gradients, over gloo between CPUs and NCCL
between GPUs. Without torchrun there is one worker, `ALONE`, which exchanges nothing.

The workers compute the same as one process with the whole batch. Every random draw is a function of (seed, epoch,
image), so each worker takes its part of each batch; losses are sums divided by the size of the whole batch, so
gradients add up; BatchNorm's statistics can be those of the whole batch (`global_batch_norm`).
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

LOST_AFTER = timedelta(seconds=25)  # without an answer; a closed connection, as of a killed worker, is noticed at once
JOINING = timedelta(minutes=5)
PREPARATION = timedelta(hours=2)  # one worker may decode a large data set while the others wait

T = TypeVar("T")


class Workers:
    """The workers that train together, as seen by worker `rank` of `world_size`.

    Args:
        group: the process group for tensors on the CPU.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, group: dist.ProcessGroup | None = None) -> None:
        self.rank = rank
        self.world_size = world_size
        self.group = self.training_group = group

    def __repr__(self) -> str:
        """Describe the workers in words, as labml records them with the configs."""
        return f"{self.world_size} workers" if self.world_size > 1 else "one process"

    @property
    def is_first(self) -> bool:
        """True if this worker records the run, prints and tests."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1

    def parts(self, n: int, at_once: int | None = None) -> list[slice]:
        """Return this worker's part of a batch's `n` images: one slice for each pass through the network.

        Args:
            at_once: the number of images of each pass, over all workers; None: the whole batch.
        """
        size = at_once or n
        return [self._share(start, min(start + size, n)) for start in range(0, n, size)]

    def _share(self, start: int, end: int) -> slice:
        """Return this worker's share of images `start` to `end`: equal shares, or one more for the first workers."""
        least, more = divmod(end - start, self.world_size)
        first = start + self.rank * least + min(self.rank, more)
        return slice(first, first + least + (self.rank < more))

    def use(self, device: torch.device) -> None:
        """Prepare to exchange tensors that are on `device`."""
        if self.is_alone or device.type != "cuda":
            return
        torch.cuda.set_device(device)
        self.training_group = dist.new_group(backend="nccl", timeout=LOST_AFTER)

    def data_parallel(self, forward: nn.Module, share_statistics: bool) -> nn.Module:
        """Wrap `forward` so that `backward()` leaves the sums of the gradients of all workers.

        Args:
            share_statistics: before each pass, copy BatchNorm's running statistics from the first worker.
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
        """Return the context of one pass of a batch: only the last pass, without `more_follow`, exchanges gradients."""
        return forward.no_sync() if more_follow and not self.is_alone else nullcontext()

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copy the running statistics of `model` from the first worker to all workers."""
        for buffer in [] if self.is_alone else model.buffers():
            dist.broadcast(buffer, src=0, group=self.training_group)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all workers, in place, and return it."""
        if not self.is_alone:
            dist.all_reduce(tensor, group=self.group if tensor.is_cpu else self.training_group)
        return tensor

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors `[n]` of all workers: `[world_size, n]`."""
        if self.is_alone:
            return tensor[None]
        gathered = tensor.new_empty(self.world_size * len(tensor))
        dist.all_gather_into_tensor(gathered, tensor, group=self.training_group)
        return gathered.view(self.world_size, -1)

    def all_reduce_max(self, number: int | None) -> int | None:
        """Return the largest number of all workers; None counts as 0, and 0 is returned as None.

        So all workers stop if one of them receives a signal.
        """
        if self.is_alone:
            return number
        numbers = torch.tensor([number or 0])
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.group)
        return int(numbers) or None

    def broadcast(self, value: T | None) -> T | None:
        """Return the first worker's value in all workers. The others wait for it up to `PREPARATION`."""
        if self.is_alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def sharing_errors(self) -> AbstractContextManager:
        """Return a context that raises a UserError of one worker in all workers, at its end."""
        return nullcontext() if self.is_alone else _SharedErrors(self)

    def leave(self) -> None:
        """End the exchange: only the first worker has more to do, the test. Without this, the process would abort."""
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
    """Connect to the other workers that torchrun started.

    Raises:
        UserError: not all of them came in time.
    """
    world_size = int(os.environ["WORLD_SIZE"])
    if world_size == 1:
        return ALONE
    try:
        store = torchrun.meet(JOINING)
        dist.init_process_group("gloo", store=store, rank=torchrun.rank(), world_size=world_size, timeout=PREPARATION)
        return Workers(torchrun.rank(), world_size, dist.new_group(backend="gloo", timeout=LOST_AFTER))
    except RuntimeError as error:
        raise UserError(f"torchrun: the {world_size} workers could not connect: {one_line(error)}") from None


def local_device(device: torch.device) -> torch.device:
    """Return the GPU of this worker, one for each worker of a machine; if `device` is the CPU, the CPU.

    Raises:
        UserError: this machine has fewer GPUs than workers.
    """
    if device.type != "cuda" or not torchrun.is_launched():
        return device
    gpus, workers = torch.cuda.device_count(), torchrun.local_workers()
    if workers > gpus:
        raise UserError(f"torchrun: {workers} workers, but this machine has {gpus} GPUs; device=cpu needs none")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def is_loss_of_a_worker(error: Exception) -> bool:
    """Return True if an exchange failed because another worker ended, is not reachable or did not answer in time."""
    phrases = ("gloo", "NCCL", "onnection closed by peer", "onnection reset by peer", "Timed out waiting")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
    )


Added = torch.futures.Future[Tensor]


def add(workers: Workers, bucket: dist.GradBucket) -> Added:
    """Sum gradients on GPUs, as DDP's hook: no mean, as each loss is already divided by the whole batch's size."""
    work = dist.all_reduce(bucket.buffer(), group=workers.training_group, async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def add_in_order(workers: Workers, bucket: dist.GradBucket) -> Added:
    """Sum gradients on CPUs, in the order of the workers.

    gloo's own sum begins at a different worker for each chunk of a bucket, and DDP packs buckets again after the first
    update: with 3 or more workers, a resumed run would differ in the last bits from an uninterrupted one.
    """
    own = bucket.buffer()
    gathered = own.new_empty(workers.world_size * len(own))
    work = dist.all_gather_into_tensor(gathered, own, group=workers.training_group, async_op=True)
    return work.get_future().then(lambda _: reduce(torch.add, gathered.view(workers.world_size, -1)))
