"""Whole trainings on a GPU: accuracy by epoch, and seeds one after another in one process."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.gpu.stages import Table
from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.training.evaluation import evaluate
from convmixer.training.trainer import Trainer


@dataclass(frozen=True)
class Epoch:
    """Seconds are of training and validation, without warming up."""

    run: str
    seed: int
    epoch: int
    seconds: float
    loss: float
    accuracy: float
    accuracy_valid: float


@dataclass(frozen=True)
class Training:
    """A training's end: accuracy on the test images, once, of the weights that the recipe names."""

    run: str
    seed: int
    epochs: float
    seconds: float
    warm_up_seconds: float
    images_per_second: float
    accuracy_test: float
    kernels: str
    precision: str
    settings: str


class Follower:
    """Writes a row for each epoch, and keeps nothing else of a training."""

    def __init__(self, table: Table, run: str, seed: int) -> None:
        self.table, self.run, self.seed = table, run, seed
        self.started = time.perf_counter()

    def metrics(self, images: int, values: dict[str, float]) -> None:
        pass

    def stepped(self, trainer: Trainer) -> None:
        pass

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        accuracies = [values.get(f"accuracy.{split}", float("nan")) for split in ("train", "valid")]
        row = Epoch(self.run, self.seed, trainer.epoch, trainer.seconds, values["loss.train"], *accuracies)
        self.table.add(row)

    def should_stop(self) -> bool:
        return False

    def checkpoint_is_due(self) -> bool:
        return False

    def checkpoint(self, trainer: Trainer) -> None:
        pass


def train(folder: Path, run: str, seed: int, given: dict[str, Any]) -> float:
    """Train once; write its epochs and its end. Returns the accuracy on the test images."""
    configs = Configs()
    configs.override(given | {"seed": seed})
    experiment = build(configs)
    trainer = experiment.trainer
    trainer.fit(Follower(Table(folder / "epochs.csv", Epoch), run, seed))
    test = experiment.batches(experiment.dataset.test)
    accuracy = evaluate(trainer.evaluated_model, test, trainer.autocast())["accuracy"]
    rate, epochs = trainer.images / trainer.seconds, trainer.images / trainer.train.n_images
    settings = " ".join(f"{name}={value}" for name, value in given.items() if name != "data.path")
    numbers = (epochs, trainer.seconds, trainer.warm_up_seconds, rate, accuracy)
    row = Training(run, seed, *numbers, experiment.kernels.name, str(trainer.precision), settings)
    Table(folder / "trainings.csv", Training).add(row)
    return accuracy


def train_seeds(folder: Path, run: str, seeds: Iterable[int], given: dict[str, Any]) -> None:
    """Train with one seed after another, compiled once; say mean and deviation after each."""
    accuracies: list[float] = []
    for seed in seeds:
        accuracies.append(train(folder, run, seed, given))
        deviation = stdev(accuracies) if len(accuracies) > 1 else float("nan")
        print(f"{run}: {len(accuracies)} seeds, {mean(accuracies):.2%} ± {deviation:.2%}", flush=True)
