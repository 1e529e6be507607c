"""Draws an evaluation: the confusion matrix and the reliability diagram."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from convmixer.console import printable
from convmixer.trained.classification_metrics import Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NAMED = 40  # most classes whose names fit beside the matrix
MAX_NUMBERED = 20  # most classes for which a number fits into each cell


def confusion_figure(matrix: Tensor, classes: Sequence[str], title: str = "Confusion matrix") -> "Figure":
    """Draw a confusion matrix: each row shows the images of one true class, in percent.

    Args:
        matrix: int64 `[classes, classes]`, from `confusion_matrix`.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    classes = [printable(name) for name in classes]  # names of folders may be bytes that no font has
    counts = matrix.numpy()
    percent = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
    side = 3 + 0.55 * min(len(classes), MAX_NUMBERED)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    picture = axis.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100))  # so that mistakes of 5 % can be seen
    figure.colorbar(picture, ax=axis, label="% of the images of the true class", shrink=0.75)
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.set_title("\n".join(map(printable, title.split("\n"))), parse_math=False)
    if len(classes) <= MAX_NAMED:
        classes = [printable(name) for name in classes]  # a name on a disk may be no text
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axis.set_xticks(range(len(classes)), classes, parse_math=False, **turned)
        axis.set_yticks(range(len(classes)), classes, parse_math=False)
    if len(classes) <= MAX_NUMBERED:
        _number(axis, percent)
    return figure


def _number(axis: "Axes", percent: np.ndarray) -> None:
    """Write the percentage into each cell, except 0."""
    for (row, column), value in np.ndenumerate(percent):
        if value > 0:
            text = f"{value:.0f}" if value >= 0.95 else f"{value:.1f}".lstrip("0")
            colour = "white" if value > 40 else "black"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)


def reliability_figure(found: Calibration, title: str = "Reliability") -> "Figure":
    """Draw the accuracy in each bin of confidence, and below it the share of images in each bin.

    Bars below the diagonal mean that the network is too confident.
    """
    from matplotlib.figure import Figure

    bins = len(found.images)
    low = np.arange(bins) / bins
    filled = found.images.numpy() > 0
    accuracy, confidence = found.accuracy.numpy(), found.confidence.numpy()
    figure = Figure(figsize=(5.6, 6.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.bar(
        low[filled], accuracy[filled], 1 / bins, align="edge", color="lightblue", edgecolor="white", label="accuracy"
    )
    above.plot((0, 1), (0, 1), color="grey", linestyle="--", label="perfectly calibrated")
    above.plot(confidence[filled], accuracy[filled], ".", color="C0", label="at the bin's mean confidence")
    above.set_title(f"{printable(title)}\nexpected calibration error {found.error:.2%}", fontsize=10, parse_math=False)
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="upper left")
    below.bar(
        low,
        found.images.numpy() / found.images.sum().item() * 100,
        1 / bins,
        align="edge",
        color="lightblue",
        edgecolor="white",
    )
    below.set(xlabel="confidence (largest softmax output)", ylabel="% of images")
    for axis in (above, below):
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    return figure
