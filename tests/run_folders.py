"""Run folders for tests: made up ones, and what to expect of real ones."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from convmixer.tracking.run_folder import read_log
from convmixer.tracking.runs import Run, all_runs


def make_run(
    logs: Path,
    uuid: str,
    data: str = "shapes",
    valid: float | None = None,
    *,
    keys: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    start: Mapping[str, Any] | None = None,
    checkpoints: Mapping[str, int] | None = None,
    **info: str,
) -> Path:
    """Make the folder of a run.

    Args:
        valid: its validation accuracy; None: it has not ended.
        keys: keys that were given, beside epochs=3.
        start: what start.json holds; older versions have none.
        checkpoints: the size in bytes of each.
        info: more entries of run.yaml.
    """
    folder = logs / "try" / uuid
    folder.mkdir(parents=True)
    known = {"name": "try", "trial_date": "2026-01-01", "trial_time": "10:00:00", "comment": "", "tags": list(tags)}
    (folder / "run.yaml").write_text(yaml.safe_dump(known | info))
    given = {"epochs": 3, **(keys or {})}
    items = {key: {"value": value, "computed": value, "is_explicitly_specified": True} for key, value in given.items()}
    (folder / "configs.yaml").write_text(yaml.safe_dump(items))
    if start is not None:
        (folder / "start.json").write_text(json.dumps(start))
    if valid is not None:
        summary = {"data": data, "epochs": 3, "accuracy.valid": valid, "accuracy.test": 0.5, "weights": "last"}
        (folder / "summary.json").write_text(json.dumps(summary))
    for name, size in (checkpoints or {}).items():
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / f"{name}.pt").write_bytes(bytes(size))
    return folder


def points(*steps: int) -> str:
    return "".join(json.dumps({"track": {"loss.train": [[s, [s / 10]]]}, "time": 1.0}) + "\n" for s in steps)


def only_run(folder: Path) -> Run:
    (found,) = all_runs(folder / "logs")
    return found


def assert_same_result(a: Run, b: Run) -> None:
    """Bit-identical weights and deterministic metrics by step, each step there once."""
    ours, theirs = weights(a), weights(b)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    exact = [name for name in b.metrics if not name.startswith("time.")]
    assert a.metrics[exact].equals(b.metrics[exact])
    assert len(recorded_steps(a, "loss.train")) == len(set(recorded_steps(a, "loss.train")))
    timeless = ("accuracy.test", "accuracy.valid", "loss.test", "steps", "images")
    assert [a.summary[key] for key in timeless] == [b.summary[key] for key in timeless]


def weights(run: Run, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run.checkpoint(name), weights_only=True)["model"]


def recorded_steps(run: Run, metric: str) -> list[int]:
    return [p[0] for line in read_log(run.folder / "log.jsonl") for p in line["track"].get(metric, [])]
