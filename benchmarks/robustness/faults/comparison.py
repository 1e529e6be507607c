"""Whether two runs came to the same: weights, optimizer, metrics by step, summary, all to the bit."""

from collections.abc import Iterator
from typing import Any

import torch

from convmixer.tracking.run_folder import LOG, read_log
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints

# What need not be the same, in checkpoints and summaries. The log's length follows from the times in it.
VARYING = {"seconds", "warm_up_seconds", "images_per_second", "run", "ended", "git", "log_bytes"}
FILES = ("run.yaml", "configs.yaml", "console.log", "curves.png")  # beside those that are compared


def differences(run: Run | None, other: Run) -> Iterator[str]:
    """In what a run that has ended is not the same as the other."""
    if run is None or not run.summary:
        yield "there is no run that has ended"
        return
    for name in ("last", "best"):
        ours, theirs = (checkpoints.load(r.checkpoint(name)) for r in (run, other))
        for key in theirs.keys() - VARYING:
            if not same(ours[key], theirs[key]):
                yield f"{name}.pt: {key}"
    if recorded(run) != recorded(other):
        yield LOG
    differing = [key for key in other.summary.keys() - VARYING if run.summary[key] != other.summary[key]]
    yield from (f"summary: {key}" for key in differing)
    if run.status != "completed":
        yield f"status {run.status}"
    yield from (f"{name} is missing" for name in FILES if not (run.folder / name).exists())
    yield from (f"{path.name} is left over" for path in run.folder.rglob(".*") if path.name != ".lock")


def same(a: Any, b: Any) -> bool:
    """Whether values of checkpoints are the same to the bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def recorded(run: Run) -> list[dict]:
    """The lines of the log, without times: in their order, so none is doubled or missing where they are the same."""
    lines = [line["track"] for line in read_log(run.folder / LOG)]
    return [{name: points for name, points in line.items() if not name.startswith("time.")} for line in lines]
