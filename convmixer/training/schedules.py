"""Learning-rate schedules: the fraction of training done, 0 to 1, to a multiple of the configured learning rate."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def paper(fraction: float) -> float:
    """Piecewise linear, as the authors train: 0 to 1 at 40 %, down to 1/20 at 80 %, to 0 at the end.

    Source: locuslab/convmixer-cifar10, train.py (`--lr-max`).
    """
    if fraction < 0.4:
        return fraction / 0.4
    if fraction < 0.8:
        return 1 + (1 / 20 - 1) * (fraction - 0.4) / 0.4
    return (1 - fraction) / 0.2 / 20


def cosine(fraction: float) -> float:
    """Linear warm-up over the first 5 %, then half a cosine down to 0 (arXiv 1608.03983, eq. 5, no restarts)."""
    warm_up = 0.05
    if fraction < warm_up:
        return fraction / warm_up
    return 0.5 * (1 + math.cos(math.pi * (fraction - warm_up) / (1 - warm_up)))


def constant(fraction: float) -> float:
    """The configured learning rate throughout."""
    return 1.0


def trapezoid(fraction: float) -> float:
    """Linear warm-up over the first 5 %, the configured rate, then linearly down to 0 over the last 20 %.

    Source: "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations" (arXiv 2405.18392), whose
    cool-down of 20 % this is; the warm-up is `cosine`'s.
    """
    return min(fraction / 0.05, 1.0, (1 - fraction) / 0.2)
