"""The points of a growing `.jsonl` file, read on from where it was read before; thinned and encoded for a chart."""

import base64
import json
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SHOWN = 1024  # points of a series that a chart gets

# What a line that is none of ours raises.
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)

Point = tuple[str, float, float]  # name, step, value
Series = tuple[np.ndarray, np.ndarray]  # steps, values


def metric_points(line: dict[str, Any]) -> Iterator[Point]:
    """Of a line of `log.jsonl`, at the training images seen."""
    for name, points in line["track"].items():
        for step, values in points:
            yield name, float(int(step)), float(sum(values) / len(values))


def hardware_points(line: dict[str, Any]) -> Iterator[Point]:
    """Of a line of `hardware.jsonl`, at its time."""
    for name, value in line["track"].items():
        yield name, float(line["time"]), float(value)


class PointsFile:
    """All points of one file, up to date after each `read`."""

    def __init__(self, path: Path, points_of: Callable[[dict[str, Any]], Iterator[Point]]) -> None:
        self._path = path
        self._points_of = points_of
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._inode = 0
        self._steps: dict[str, array] = {}
        self._values: dict[str, array] = {}

    def read(self) -> dict[str, Series]:
        """Each series, by name in alphabetical order."""
        try:
            with open(self._path, "rb") as file:
                self._read_on(file)
        except FileNotFoundError:
            self._forget()
        return {name: (np.array(self._steps[name]), np.array(self._values[name])) for name in sorted(self._steps)}

    def _read_on(self, file: BinaryIO) -> None:
        inode, size = os.fstat(file.fileno()).st_ino, os.fstat(file.fileno()).st_size
        if inode != self._inode or size < self._offset:  # `resume` wrote it anew, up to its checkpoint
            self._forget()
            self._inode = inode
        file.seek(self._offset)
        whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            self._add(line)

    def _add(self, line: bytes) -> None:
        try:
            points = list(self._points_of(json.loads(line)))
        except NONSENSE:
            return  # not a line of ours
        for name, step, value in points:
            self._steps.setdefault(name, array("d")).append(step)
            self._values.setdefault(name, array("d")).append(value)


def thin(series: Series) -> Series:
    """At most `SHOWN` points: means of neighbours, a mean of none but NaNs being NaN; the last point as it is."""
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
    """A series as labml's page takes it.

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
    """Numbers in 64 bits, as text."""
    return base64.b64encode(np.asarray(numbers, "<f8").tobytes()).decode()
