"""Learning-rate schedules. Each returns a factor of the learning rate for the fraction of training done, 0 to 1."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def paper(fraction: float) -> float:
    """Return the factor of the authors' schedule: linear from 0 to 1 at 40 %, to 1/20 at 80 %, to 0 at the end.

    Source: locuslab/convmixer-cifar10, train.py (`--lr-max`).
    """
    if fraction < 0.4:
        return fraction / 0.4
    if fraction < 0.8:
        return 1 + (1 / 20 - 1) * (fraction - 0.4) / 0.4
    return (1 - fraction) / 0.2 / 20


def cosine(fraction: float) -> float:
    """Return a linear warm-up over the first 5 %, then half a cosine to 0 (arXiv 1608.03983, eq. 5, no restarts)."""
    warm_up = 0.05
    if fraction < warm_up:
        return fraction / warm_up
    return 0.5 * (1 + math.cos(math.pi * (fraction - warm_up) / (1 - warm_up)))


def constant(fraction: float) -> float:
    """Return 1: the learning rate never changes."""
    return 1.0


def trapezoid(fraction: float) -> float:
    """Return a linear warm-up over the first 5 %, then 1, then a linear decrease to 0 over the last 20 %.

    Source: the cool-down of 20 % is from "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations"
    (arXiv 2405.18392); the warm-up is that of `cosine`.
    """
    return min(fraction / 0.05, 1.0, (1 - fraction) / 0.2)
