"""Reads the histograms of a run's layers: `metrics=[histograms]`, `training.layer_statistics` makes them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convmixer.errors import UserError
from convmixer.tracking.run_folder import HISTOGRAMS, log_line, log_lines

LAYER_KINDS = {"param": "weights", "grad": "gradients", "activation": "activations"}  # the first parts of names
LARGEST = 1e100  # of a value; sums of larger ones overflow


def is_of_layer(metric: str) -> bool:
    """Return True if a metric is one layer's, of which a run has many."""
    return metric.partition(".")[0] in LAYER_KINDS


class Histogram(NamedTuple):
    """The histogram of a tensor's values: how many are in each of equal bins from `low` to `high`."""

    low: float
    high: float
    mean: float
    l2: float
    counts: tuple[int, ...]

    @property
    def edges(self) -> np.ndarray:
        """The edges of the bins, `[bins + 1]`; where all values are equal, of bins around it."""
        margin = 1.0 if self.low == self.high else 0.0
        return np.linspace(self.low - margin, self.high + margin, len(self.counts) + 1)


def histogram(values: Sequence[float]) -> Histogram | None:
    """Return the histogram in a point of `histograms.jsonl`; None if it is none."""
    if len(values) < 5 or not all(abs(value) < LARGEST for value in values):  # NaN is not less either
        return None
    low, high, mean, l2, *counts = values
    is_right = low <= high and l2 >= 0 and all(count >= 0 and count == math.floor(count) for count in counts)
    return Histogram(low, high, mean, l2, tuple(map(int, counts))) if is_right and any(counts) else None


def read_histograms(folder: Path) -> dict[str, dict[int, Histogram]]:
    """Return a run's histograms by name and step (training images seen); a damaged line is left out.

    Raises:
        UserError: the file is no ordinary one, or can't be read.
    """
    found: dict[str, dict[int, Histogram]] = {}
    for text in log_lines(folder / HISTOGRAMS):
        try:
            track = log_line(text, "")["track"]
        except UserError:
            continue
        for name, points in track.items():
            for step, values in points:
                if point := histogram(values):
                    found.setdefault(name, {})[step] = point
    return found
