"""Warms a trainer up: what is slow once, on a GPU or compiled, is over before the training time begins."""

import copy
import time
from itertools import product
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from convmixer.training.trainer import Trainer

UPDATES = 3  # a CUDA graph is recorded in the second


def warm_up(trainer: "Trainer") -> None:
    """Make updates with batches of every size, and of every augmentation to come, and undo them.

    So compiling, recording of graphs and the choice of kernels take place before the training time. The seconds are
    added to `trainer.warm_up_seconds`.
    """
    started = time.perf_counter()
    train, step = trainer.train, trainer.step
    before = None if trainer.graphed else copy.deepcopy(trainer.state_dict())
    fully_augmented = train.fully_augmented
    trainer.model.train()
    numbers = sorted({0, trainer.steps_per_epoch - 1})  # the last batch may be smaller
    stages = (None,) if trainer.full_augmentation_until() is None else (None, 0)  # shapes may change with it
    for number, stage in product(numbers, stages):
        train.fully_augmented = stage
        batch = next(train.epoch(step // trainer.steps_per_epoch, number))
        for _ in range(UPDATES):
            trainer.step = number  # which says how large the batch of all workers is
            trainer.graphed.recording(*trainer.inputs(batch)) if trainer.graphed else trainer.train_step(batch)
    trainer.step, train.fully_augmented = step, fully_augmented
    if before:
        trainer.load_state_dict(before)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    trainer.warm_up_seconds += time.perf_counter() - started
    trainer.is_cold = False
