"""Reads back what trackers hold, with their own libraries, into one shape: `Held`."""

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from convmixer.tracking.runs import Run

Curve = list[tuple[int, float]]  # step, value


@dataclass
class Held:
    """A run as a tracker has it."""

    name: str
    group: str | None = None
    status: str = ""
    curves: dict[str, Curve] = field(default_factory=dict)
    histograms: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # step, number of values
    configs: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)  # and what else is in files
    pictures: list[str] = field(default_factory=list)


def assert_same(curve: Curve, expected: Curve) -> None:
    """The same steps, each once and in order, and the same values as far as a float of 32 bits can hold them."""
    assert [step for step, _ in curve] == [step for step, _ in expected]
    assert [value for _, value in curve] == pytest.approx([value for _, value in expected])


def recorded(run: Run, metric: str) -> Curve:
    """A metric as the run's own log has it."""
    return [(step, values[metric]) for step, values in run.points.items() if metric in values]


def tensorboard(logs: Path) -> list[Held]:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    root = logs / "tensorboard"
    reader = (
        EventMultiplexer(size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
        .AddRunsFromDirectory(str(root))
        .Reload()
    )
    found = []
    for path in reader.Runs():
        events = reader.GetAccumulator(path)
        held = Held(Path(path).name, path.partition("/")[0] if "/" in path else None)
        for tag in events.Tags()["scalars"]:
            held.curves[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["histograms"]:
            points = events.Histograms(tag)
            assert all(sum(p.histogram_value.bucket) == p.histogram_value.num for p in points)
            held.histograms[tag] = [(point.step, point.histogram_value.num) for point in points]
        for tag in ("configs", "summary", "console"):
            if tag in events.Tags()["tensors"]:
                held.texts[tag] = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        hparams = HParamsPluginData.FromString(content).session_start_info.hparams
        held.configs = {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}
        held.pictures = events.Tags()["images"]
        found.append(held)
    return found


def mlflow(logs: Path) -> list[Held]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{logs}/mlflow.db")
    experiment = client.get_experiment_by_name("convmixer").experiment_id
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    found = []
    for identity, run in runs.items():
        parent = run.data.tags.get("mlflow.parentRunId")
        held = Held(run.info.run_name, runs[parent].info.run_name if parent else None, run.info.status)
        for name in run.data.metrics:
            held.curves[name] = [(point.step, point.value) for point in client.get_metric_history(identity, name)]
        held.configs = run.data.params
        for item in client.list_artifacts(identity):
            file = Path(client.download_artifacts(identity, item.path))
            if file.suffix == ".png":
                held.pictures.append(file.stem)
            else:
                held.texts[file.stem] = file.read_text()
        found.append(held)
    return found


def wandb(logs: Path) -> list[Held]:
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted((logs / "wandb").glob("offline-run-*/*.wandb")):
        held = Held("")
        points = defaultdict(list)
        for record in map(Record.FromString, _leveldb_records(file.read_bytes())):
            if record.HasField("run"):
                held.name, held.group = record.run.display_name, record.run.run_group or None
                held.configs |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif record.HasField("history"):
                row = {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
                for name, value in row.items():
                    points[name].append((row["images"], value))
            elif record.HasField("exit"):
                held.status = str(record.exit.exit_code)
        held.pictures = [name.removesuffix("._type") for name in points if name.endswith("._type")]
        held.curves = {name: curve for name, curve in points.items() if "/" in name}
        for copy in (file.parent / "files").glob("*.[jl][so]*"):
            held.texts[copy.stem] = copy.read_text()
        found.append(held)
    return found


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file of W&B's offline mode, a log of LevelDB's format after seven bytes of W&B's own.

    Blocks of 32 KiB hold pieces: a checksum of 4 bytes, a length of 2, and 1 whole, 2 first, 3 middle or 4 last.
    """
    block, offset, record = 2**15, 7, b""
    while offset + 7 <= len(content):
        if block - offset % block < 7:
            offset += block - offset % block
            continue
        length, kind = int.from_bytes(content[offset + 4 : offset + 6], "little"), content[offset + 6]
        record += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def trackio(logs: Path) -> list[Held]:
    """trackio itself may not be installed here: its database is read with SQLite."""
    database = sqlite3.connect(Path(os.environ["TRACKIO_DIR"]) / "convmixer.db")
    found = {}
    for name, configs in database.execute("select run_name, config from configs"):
        configs = json.loads(configs)
        found[name] = Held(name, configs.get("_Group"), configs=configs)
    for name, step, metrics in database.execute("select run_name, step, metrics from metrics order by id"):
        held = found[name]
        for metric, value in json.loads(metrics).items():
            if isinstance(value, int | float):
                held.curves.setdefault(metric, []).append((step, value))
            elif value.get("_type") == "trackio.markdown":
                held.texts[metric] = value["_value"]
            else:
                held.pictures.append(metric)
    return list(found.values())
