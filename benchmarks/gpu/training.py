"""Whole trainings on a GPU: accuracy by epoch, and seeds one after another in one process."""

import csv
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


class Silent:
    """Follows a training, and keeps nothing of it."""

    def metrics(self, images: int, values: dict[str, float]) -> None:
        pass

    def stepped(self, trainer: Trainer) -> None:
        pass

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        pass

    def should_stop(self) -> bool:
        return False

    def checkpoint_is_due(self) -> bool:
        return False

    def checkpoint(self, trainer: Trainer) -> None:
        pass


class Follower(Silent):
    """Writes a row for each epoch, and keeps nothing else of a training."""

    def __init__(self, table: Table, run: str, seed: int) -> None:
        self.table, self.run, self.seed = table, run, seed

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        accuracies = [values.get(f"accuracy.{split}", float("nan")) for split in ("train", "valid")]
        row = Epoch(self.run, self.seed, trainer.epoch, trainer.seconds, values["loss.train"], *accuracies)
        self.table.add(row)


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


def graph_is_better(folder: Path, without: str, with_graph: str) -> bool:
    """Return True if the run with a CUDA graph ended, was quicker than the one without, and learned as much."""
    path = folder / "trainings.csv"
    if not path.exists():
        return False
    with open(path, newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    if without not in rows or with_graph not in rows:
        return with_graph in rows
    gains = [
        float(rows[with_graph][name]) - float(rows[without][name]) for name in ("images_per_second", "accuracy_test")
    ]
    return gains[0] > 0 and gains[1] > -0.02


def train_seeds(
    folder: Path, run: str, seeds: Iterable[int], given: dict[str, Any], runs: tuple[str, str] | None = None
) -> None:
    """Train with one seed after another, compiled once; say mean and deviation after each.

    Args:
        runs: without a CUDA graph, and with one: with it, if that was better.
    """
    accuracies: list[float] = []
    if runs and graph_is_better(folder, *runs):
        given = given | {"cuda_graph": True}
    for seed in seeds:
        accuracies.append(train(folder, run, seed, given))
        deviation = stdev(accuracies) if len(accuracies) > 1 else float("nan")
        print(f"{run}: {len(accuracies)} seeds, {mean(accuracies):.2%} ± {deviation:.2%}", flush=True)
