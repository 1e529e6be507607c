"""Series of points: kept in bounded memory however long they get, thinned and encoded for a chart."""

import base64
from typing import Any

import numpy as np

SHOWN = 1024  # points of a series that a chart gets
MOST = 4 * SHOWN  # points of a series that are kept in memory
LARGEST = 1e100  # a value beyond is a gap, as NaN is: a mean must not overflow

Series = tuple[np.ndarray, np.ndarray]  # steps, values


class GrowingSeries:
    """A series that points are added to; beyond `MOST`, means of equally many neighbours stand for them."""

    def __init__(self) -> None:
        self._width = 1  # points that each kept one stands for
        self._kept: Series = (np.empty(0), np.empty(0))
        self._rest: Series = (np.empty(0), np.empty(0))  # fewer than `_width`
        self._last: Series = (np.empty(0), np.empty(0))

    def extend(self, steps: list[float], values: list[float]) -> None:
        """Add points, one or more."""
        new = np.array(steps), np.array(values)
        new[1][~(np.abs(new[1]) < LARGEST)] = np.nan
        self._last = new[0][-1:], new[1][-1:]
        rest = _joined(self._rest, new)
        while count := min(len(rest[0]) // self._width, MOST - len(self._kept[0])):
            taken = count * self._width
            self._kept = _joined(self._kept, _means((rest[0][:taken], rest[1][:taken]), self._width))
            rest = rest[0][taken:], rest[1][taken:]
            if len(self._kept[0]) == MOST:
                self._kept = _means(self._kept, 2)
                self._width *= 2
        self._rest = rest

    def points(self) -> Series:
        """Return all points, or the means that stand for them and the last point as it is."""
        if self._width == 1:
            return self._kept
        rest = _means(self._rest, len(self._rest[0])) if len(self._rest[0]) else self._rest
        return _joined(self._kept, rest, self._last)


def _joined(*series: Series) -> Series:
    steps, values = zip(*series, strict=True)
    return np.concatenate(steps), np.concatenate(values)


def _means(series: Series, width: int) -> Series:
    """Means of every `width` neighbours, of as many as fit; of values, those that are finite, or NaN."""
    steps, values = (numbers.reshape(-1, width) for numbers in series)
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.where(finite, values, 0.0).sum(1) / finite.sum(1)
    return steps.mean(1), means if width > 1 else series[1]


def thin(series: Series) -> Series:
    """Reduce to at most `SHOWN` points: means of neighbours, a mean of none but NaNs being NaN; the last as it is."""
    steps, values = series
    width = -(-len(steps) // (SHOWN - 1))
    if width <= 1:
        return series
    starts = np.arange(0, len(steps) - 1, width)
    finite = np.isfinite(values[:-1])
    counts = np.add.reduceat(finite.astype(float), starts)
    sums = np.add.reduceat(np.where(finite, values[:-1], 0.0), starts)
    sizes = np.diff(np.append(starts, len(steps) - 1))
    with np.errstate(invalid="ignore"):
        means = sums / counts
    return np.append(np.add.reduceat(steps[:-1], starts) / sizes, steps[-1]), np.append(means, values[-1])


def encode(name: str, series: Series, is_summary: bool) -> dict[str, Any]:
    """Return a series as labml's page takes it.

    A value that is not finite becomes a gap: its point holds the value before it, for the page's smoothing and scales
    not to break, and a NaN as `last_step`, where the page's lines are cut (see `patches`). At the ends it is left out.
    """
    steps, values = series
    finite = np.isfinite(values)
    kept = np.flatnonzero(finite)
    inner = slice(kept[0], kept[-1] + 1) if len(kept) else slice(0)
    steps, values, finite = steps[inner], values[inner], finite[inner]
    before = np.maximum.accumulate(np.where(finite, np.arange(len(values)), 0))
    return {
        "name": name,
        "is_summary": is_summary,
        "step": binary(steps),
        "value": binary(values[before]),
        "last_step": binary(np.where(finite, steps, np.nan)),
        "mean": float(values[finite].mean()) if len(kept) else 0.0,
    }


def binary(numbers: np.ndarray) -> str:
    """Encode numbers in 64 bits, as text."""
    return base64.b64encode(np.asarray(numbers, "<f8").tobytes()).decode()
