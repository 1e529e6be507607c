"""A run that is followed while it grows for an hour, at a point a tenth of a second: memory stays as it is."""

import json
import tracemalloc
from pathlib import Path

from convmixer.dashboard.points import PointsFile, metric_points
from convmixer.dashboard.series import MOST, GrowingSeries, thin


def test_an_hour_of_growth_takes_no_more_memory(tmp_path: Path) -> None:
    points = PointsFile(tmp_path / "log.jsonl", metric_points)

    def grow(first: int, last: int) -> None:
        with open(tmp_path / "log.jsonl", "a") as log:
            for n in range(first, last):
                track = {name: [[n, [1.0 / (1 + n)]]] for name in ("loss.train", "accuracy.train", "optim.lr")}
                log.write(json.dumps({"track": track, "time": 1e9 + n / 10}) + "\n")
        points.read()

    tracemalloc.start()
    sizes = []
    for minute in range(60):
        grow(600 * minute, 600 * (minute + 1))
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(sizes[15:]) < max(sizes[:15]) + 200_000  # bytes; all points of the last 45 minutes would take 1.3 MB
    steps, values = points.series["loss.train"]
    assert (steps[-1], values[-1]) == (35_999, 1 / 36_000)


def test_means_stand_for_what_is_not_kept() -> None:
    series = GrowingSeries()
    for first in range(0, 1_000_000, 1000):
        series.extend(list(range(first, first + 1000)), [float(n) for n in range(first, first + 1000)])
    steps, values = series.points()
    assert len(steps) <= MOST + 2
    assert (steps == values).all() and (steps[1:] > steps[:-1]).all()
    assert (steps[-1], thin((steps, values))[0][-1]) == (999_999, 999_999)
