"""Measures how many updates fit into a given time."""

import copy
import statistics
import time
from dataclasses import replace
from itertools import chain, count, islice

import torch

from convmixer.training.evaluation import evaluate
from convmixer.training.trainer import Trainer

WARM_UP, LEAST, SECONDS = 3, 8, 5.0  # stretches before the measurement, fewest stretches and seconds in it


def steps_in(trainer: Trainer, seconds: float) -> int:
    """Return the number of updates, with a validation after each epoch, that take `seconds`.

    The speed is measured on a copy of the model, with each augmentation of the training: `trainer` and the random
    generators do not change.
    """
    with torch.random.fork_rng(devices=_devices(trainer)):
        trial = _copy(trainer)
        update = _mean_seconds_per_update(trial)
        validation = _seconds_of_validation(trial)
    return max(1, int(seconds / (update + validation / trainer.steps_per_epoch)))


def _devices(trainer: Trainer) -> list[torch.device]:
    return [trainer.device] if trainer.device.type == "cuda" else []


def _copy(trainer: Trainer) -> Trainer:
    model, optimizer, average = copy.deepcopy((trainer.model, trainer.optimizer, trainer.average))
    train = copy.copy(trainer.train)  # its images are shared
    return replace(trainer, model=model, optimizer=optimizer, average=average, train=train, total_steps=10**9)


def _mean_seconds_per_update(trainer: Trainer) -> float:
    """Return the mean time of an update in seconds, over the parts of the training with an augmentation each."""
    augmentation = trainer.train.augmentation
    off_for = augmentation.off_for if augmentation else 0.0
    mean = 0.0
    for share, fully_augmented in ((1 - off_for, None), (off_for, 0)):
        if share:
            trainer.train.fully_augmented = fully_augmented
            mean += share * _seconds_per_update(trainer)
    return mean


def _seconds_per_update(trainer: Trainer) -> float:
    """Return the median time of an update in seconds, over stretches of updates, with the making of batches."""
    trainer.model.train()
    updates = updates_of_a_stretch(trainer.device)
    batches = chain.from_iterable(trainer.train.epoch(0) for _ in count())
    times: list[float] = []
    while len(times) < WARM_UP + LEAST or sum(times[WARM_UP:]) < SECONDS:
        started = time.perf_counter()
        for batch in islice(batches, updates):
            trainer.train_step(batch)
        _finish(trainer.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:]) / updates


def updates_of_a_stretch(device: torch.device) -> int:
    """Return how many updates are timed together: many on a GPU, as training does not wait for each."""
    return 16 if device.type == "cuda" else 1


def _seconds_of_validation(trainer: Trainer) -> float:
    if trainer.valid is None:
        return 0.0
    started = time.perf_counter()
    evaluate(trainer.evaluated_model, trainer.valid, trainer.autocast())
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
