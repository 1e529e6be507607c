"""TensorBoard: event files in `logs/tensorboard/`, a folder for each run, in a folder for each sweep.

The files are written with the `tensorboard` package alone: TensorFlow and torch's writer are not needed.
"""

import struct
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text import metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from convmixer.tracking.histograms import histogram
from convmixer.tracking.run_folder import CURVES
from convmixer.tracking.trackers.tracker import HistogramLine, Line, TrackedRun, chart_name


class TensorBoard:
    """A run as event files.

    Step is the number of training images seen. Where a run went back, TensorBoard's own mark for it makes readers drop
    what was recorded after that step. Configs are hyperparameters; runs that differ in the seed alone share a group.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        is_new = not self.has(run)
        self._writer = EventFileWriter(str(_folder(run)))
        self._step = 0
        if is_new:
            hparams = hparams_pb(run.configs, trial_id=run.point, start_time_secs=run.started)
            self._add(0, run.started, *hparams.value, _text("configs", _table(run.configs)))

    @staticmethod
    def place(run: TrackedRun) -> str:
        return str(_folder(run))

    @staticmethod
    def has(run: TrackedRun) -> bool:
        return any(_folder(run).glob("events.*"))

    def log(self, lines: Sequence[Line]) -> None:
        for step, at, values in lines:
            scalars = (Summary.Value(tag=chart_name(name), simple_value=value) for name, value in values.items())
            self._add(step, at, *scalars)
        self._writer.flush()

    def log_histograms(self, lines: Sequence[HistogramLine]) -> None:
        for step, at, values in lines:
            found = ((name, _histogram(point)) for name, point in values.items())
            self._add(step, at, *(Summary.Value(tag=chart_name(name), histo=histo) for name, histo in found if histo))
        self._writer.flush()

    def rewind(self, step: int) -> bool:
        self._writer.add_event(Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)))
        return True

    def end(self, status: str) -> None:
        run = self._run
        step = max(self._step, int(run.results.get("images", 0)))
        tests = [Summary.Value(tag=chart_name(name), simple_value=value) for name, value in run.test_metrics.items()]
        texts = [_text("summary", _table({"status": status, **run.results})), _text("console", _block(run.console))]
        curves = run.run.folder / CURVES
        pictures = [Summary.Value(tag="curves", image=_image(curves))] if curves.exists() else []
        self._add(step, time.time(), *tests, *texts, *pictures)
        self._writer.close()

    def _add(self, step: int, at: float, *values: Summary.Value) -> None:
        self._step = max(self._step, step)
        self._writer.add_event(Event(wall_time=at, step=step, summary=Summary(value=values)))


def _folder(run: TrackedRun) -> Path:
    return run.logs / "tensorboard" / (run.group or "") / run.name


def _histogram(point: list[float]) -> HistogramProto | None:
    """Return a point of `histograms.jsonl` as TensorBoard keeps one; None if it is damaged."""
    found = histogram(point)
    if found is None:
        return None
    n, edges = sum(found.counts), found.edges.tolist()
    return HistogramProto(
        min=found.low,
        max=found.high,
        num=n,
        sum=found.mean * n,
        sum_squares=found.l2**2 * n,
        bucket_limit=edges,
        bucket=[0, *found.counts],  # the first one ends at the lowest value
    )


def _text(tag: str, text: str) -> Summary.Value:
    about = metadata.create_summary_metadata(display_name="", description="")
    tensor = tensor_util.make_tensor_proto([text.encode()], shape=(1,))
    return Summary.Value(tag=tag, metadata=about, tensor=tensor)


def _table(values: dict[str, int | float | str]) -> str:
    rows = (f"| {name} | {str(value).replace('|', ' ')} |" for name, value in values.items())
    return "\n".join(["| key | value |", "|---|---|", *rows])


def _block(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _image(file: Path) -> Summary.Image:
    content = file.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of a PNG's header
    return Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=content)


TRACKER = TensorBoard
