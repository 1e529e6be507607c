"""What a chart gets of a series."""

import base64
import json
import math
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convmixer.dashboard.hardware import parse_nvidia_smi
from convmixer.dashboard.points import PointsFile, metric_points
from convmixer.dashboard.series import SHOWN, encode, thin

VALUES = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=60)


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f8")


@given(VALUES)
def test_finite_points_are_drawn_as_they_are_and_nothing_else_is(values: list[float]) -> None:
    shown = encode("x", (np.arange(len(values), dtype=float), np.array(values, dtype=float)), is_summary=False)
    step, value, drawn = numbers(shown["step"]), numbers(shown["value"]), ~np.isnan(numbers(shown["last_step"]))
    assert np.isfinite(step).all() and np.isfinite(value).all()
    assert dict(zip(step[drawn], value[drawn], strict=True)) == {i: v for i, v in enumerate(values) if math.isfinite(v)}
    json.dumps(shown, allow_nan=False)


@given(st.integers(1, 20_000), st.integers(0, 50))
def test_a_long_series_is_thinned_to_means_that_end_where_it_ends(length: int, n_gaps: int) -> None:
    random = np.random.default_rng(length)
    steps, values = np.arange(length, dtype=float) * 7, random.normal(size=length)
    values[random.integers(0, length, n_gaps)] = np.nan
    thin_steps, thin_values = thin((steps, values))
    assert len(thin_steps) == len(thin_values) <= SHOWN
    assert (np.diff(thin_steps) > 0).all()
    assert (thin_steps[-1], thin_values[-1]) == (steps[-1], values[-1]) or math.isnan(values[-1])
    assert np.nanmin(thin_values, initial=0) >= np.nanmin(values, initial=0)
    assert np.nanmax(thin_values, initial=0) <= np.nanmax(values, initial=0)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_a_log_is_read_on_wherever_writing_stopped(cuts: list[int]) -> None:
    text = "".join(json.dumps({"track": {"a": [[i, [i / 2]]]}, "time": 1}) + "\n" for i in range(9)).encode()
    ends = [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log.jsonl"
        points = PointsFile(file, metric_points)
        begun = 0
        for end in ends:
            with open(file, "ab") as log:
                log.write(text[begun:end])
            begun = end
            steps, values = points.read().get("a", ([], []))
    assert steps.tolist() == list(range(9))
    assert values.tolist() == [i / 2 for i in range(9)]


def test_lines_that_are_no_points_are_passed_over(tmp_path: Path) -> None:
    lines = ["{", "[]", "3", '{"track": 3}', '{"track": {"a": [[1, []]]}}', '{"track": {"a": [[1, [2]]]}}', "\0\0"]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    points = PointsFile(tmp_path / "log.jsonl", metric_points)
    assert {name: values.tolist() for name, (_, values) in points.read().items()} == {"a": [2.0]}
    assert PointsFile(tmp_path / "none.jsonl", metric_points).read() == {}


def test_what_nvidia_smi_tells() -> None:
    table = "0, 97, 20480, 61, 250.31\n1, [N/A], 5, 30, [Not Supported]\n"
    assert parse_nvidia_smi(table) == {
        "gpu.utilization.0": 97.0,
        "gpu.memory.used.0": 20480.0,
        "gpu.temperature.0": 61.0,
        "gpu.power.usage.0": 250.31,
        "gpu.memory.used.1": 5.0,
        "gpu.temperature.1": 30.0,
    }
