"""Draws curves as text, with eight dots in each character (Unicode's Braille patterns), or with `*`."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

# The bit of each dot of a Braille pattern, by its column and row.
BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
BRAILLE = 0x2800
DOTS_ACROSS, DOTS_DOWN = 2, 4


class Curve(NamedTuple):
    """Values over steps, in the order of the steps."""

    steps: Sequence[float]
    values: Sequence[float]


class Frame(NamedTuple):
    """The ranges that curves beside each other share, so that they can be compared."""

    last_step: float
    low: float
    high: float


def frame_of(curves: Sequence[Curve]) -> Frame:
    """Return the ranges that hold all finite values of the curves."""
    values = [value for curve in curves for value in curve.values if math.isfinite(value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    last_step = max((step for curve in curves for step in curve.steps), default=1)
    return Frame(last_step or 1, low, high if high > low else low + 1)


def draw(curve: Curve, frame: Frame, width: int, height: int, braille: bool = True) -> list[str]:
    """Return a picture of the curve: `height` lines of `width` characters, with the range at the left.

    Args:
        braille: False where the output can't hold Braille patterns; each character is then one dot.
    """
    labels = [f"{frame.high:.4g}", *[""] * (height - 2), f"{frame.low:.4g}"]
    margin = max(map(len, labels))
    columns = max(width - margin - 1, 1)
    across, down = (DOTS_ACROSS, DOTS_DOWN) if braille else (1, 1)
    dots = _dots(curve, frame, columns * across, height * down)
    rows = [[_character(dots, x, y, braille) for x in range(columns)] for y in range(height)]
    return [f"{label:>{margin}} {''.join(row)}" for label, row in zip(labels, rows, strict=True)]


def _dots(curve: Curve, frame: Frame, columns: int, rows: int) -> set[tuple[int, int]]:
    """Return the dots of the curve as (column, row), with the gaps between two points filled."""
    points = [
        (_place(step / frame.last_step, columns), _place((frame.high - value) / (frame.high - frame.low), rows))
        for step, value in zip(curve.steps, curve.values, strict=True)
        if math.isfinite(value)
    ]
    dots = set(points)
    for (x, y), (to_x, to_y) in pairwise(points):
        length = max(abs(to_x - x), abs(to_y - y), 1)
        dots |= {(x + round((to_x - x) * i / length), y + round((to_y - y) * i / length)) for i in range(length)}
    return dots


def _place(fraction: float, count: int) -> int:
    """Return which of `count` dots is at this fraction of the axis; steps of a damaged log may lie outside of it."""
    return round(min(max(fraction, 0.0), 1.0) * (count - 1)) if math.isfinite(fraction) else 0


def _character(dots: set[tuple[int, int]], x: int, y: int, braille: bool) -> str:
    if not braille:
        return "*" if (x, y) in dots else " "
    there = (
        bit
        for column, bits in enumerate(BITS)
        for row, bit in enumerate(bits)
        if (x * DOTS_ACROSS + column, y * DOTS_DOWN + row) in dots
    )
    pattern = sum(there)
    return chr(BRAILLE + pattern) if pattern else " "
