"""Finds a learning rate: trains shortly while it grows, and looks where the loss falls fastest.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), section 3.3, with exponential
growth and a smoothed loss as in fastai's learning-rate finder.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TYPE_CHECKING

from convmixer.errors import TrainingFault
from convmixer.experiment.experiment import Experiment
from convmixer.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UPDATES = 200
RANGE = (1e-4, 100.0)  # factors of the keys' learning rates
SMOOTHING = 0.9  # of the moving average of the loss
END = 3.0  # the test ends where the smoothed loss is so many times its minimum
SETTLED = 10  # updates after which the moving average is of enough losses to be looked at
REACH = 5  # updates to each side, over which the fall of the smoothed loss is measured
LEAST = 20  # updates that a suggestion needs


@dataclass(frozen=True)
class RangeTest:
    """The losses of a range test.

    Attributes:
        rates: `optimizer.learning_rate` at each update; other groups' rates grow in proportion.
        losses: the mean loss of each batch, before its update.
        smooth: their moving average, without bias towards its start.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest over the logarithm of the rate, before its minimum."""
        lowest = self.smooth.index(min(self.smooth))
        last = len(self.smooth) - 1
        updates = range(SETTLED, max(lowest, SETTLED + 1))
        falls = [self.smooth[n - REACH] - self.smooth[min(n + REACH, last)] for n in updates]
        return self.rates[SETTLED + falls.index(max(falls))]

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss is lowest; larger ones do harm."""
        return self.rates[self.smooth.index(min(self.smooth))]


def range_test(experiment: Experiment) -> RangeTest:
    """Train for up to `UPDATES` updates with a learning rate that grows exponentially.

    Raises:
        TrainingFault: the loss is not finite, or grows, from the first updates on.
    """
    low, high = RANGE
    trainer = replace(experiment.trainer, valid=None, total_steps=UPDATES, schedule=lambda t: low * (high / low) ** t)
    experiment.model.train()
    rates: list[float] = []
    losses: list[float] = []
    smooth: list[float] = []
    average = 0.0
    for number, loss in enumerate(_losses(trainer), 1):
        if not math.isfinite(loss):
            break
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        rates.append(experiment.values["optimizer.learning_rate"] * trainer.schedule((number - 0.5) / UPDATES))
        losses.append(loss)
        smooth.append(average / (1 - SMOOTHING**number))
        if number > LEAST and smooth[-1] > END * min(smooth):
            break
    if len(smooth) < LEAST:
        raise TrainingFault(
            f"after {len(smooth)} updates the loss is not finite, at the smallest learning rates already"
        )
    return RangeTest(rates, losses, smooth)


def _losses(trainer: Trainer) -> Iterator[float]:
    batches = chain.from_iterable(trainer.train.epoch(epoch) for epoch in count())
    for _ in range(UPDATES):
        trainer.train_step(next(batches))
        loss, _, images, _ = trainer.take_sums()
        yield loss / images


def picture(found: RangeTest) -> "Figure":
    """Draw the loss over the learning rate, with the suggestion."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(found.rates, found.losses, color="C0", alpha=0.3, linewidth=1, label="loss of each batch")
    axis.plot(found.rates, found.smooth, color="C0", linewidth=2, label="smoothed")
    axis.axvline(found.steepest, color="C2", linestyle="--", label=f"falls fastest: {found.steepest:.2g}")
    axis.axvline(found.lowest, color="C3", linestyle=":", label=f"lowest: {found.lowest:.2g}")
    axis.set(xscale="log", xlabel="optimizer.learning_rate", ylabel="training loss")
    axis.set_ylim(0.9 * min(found.smooth), 1.2 * max(found.smooth[: len(found.smooth) // 2]))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
