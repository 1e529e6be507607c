"""An evaluation in full: from logits to plain values, and from these to the tables on the terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from convmixer.console import printable
from convmixer.trained.classification_metrics import (
    BINS,
    calibration,
    confusion_matrix,
    correct_in_top,
    wilson_interval,
)
from convmixer.training.metrics import Metric


def measure(
    logits: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    mirrored: Tensor | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, Any]:
    """Compute every figure of an evaluation, in plain values; shares are 0 to 1, intervals those of 95 %.

    Args:
        logits: float32 `[n, classes]`.
        labels: int64 `[n]`.
        mirrored: the logits of the mirrored images, for a second accuracy with the mean of both.
        metrics: their means are under `metrics`.
    """
    found = calibration(logits, labels)
    confusion = confusion_matrix(logits.argmax(1), labels, len(classes))
    top = {"top_1": 1} | ({"top_5": 5} if len(classes) > 5 else {})
    result: dict[str, Any] = {name: _share(correct_in_top(logits, labels, k), len(labels)) for name, k in top.items()}
    if mirrored is not None:
        result["top_1_with_mirror"] = _share(correct_in_top((logits + mirrored) / 2, labels, 1), len(labels))
    return result | {
        "loss": F.cross_entropy(logits, labels).item(),
        "metrics": {name: metric(logits, labels).double().mean().item() for name, metric in (metrics or {}).items()},
        "classes": _per_class(confusion, classes),
        "confusion": confusion.tolist(),
        "calibration": {
            "error": found.error,
            "bins": BINS,
            "images": found.images.tolist(),
            "confidence": found.confidence.tolist(),
            "accuracy": found.accuracy.tolist(),
        },
    }


def _share(correct: int, n: int) -> dict[str, Any]:
    return {"accuracy": correct / n, "interval": list(wilson_interval(correct, n))}


def _per_class(confusion: Tensor, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each class that there are images of: recall (`accuracy`), precision, and what it is most often taken for."""
    rows = {}
    for label, images in enumerate(confusion.sum(1).tolist()):
        if images == 0:
            continue
        correct, predicted = int(confusion[label, label]), int(confusion[:, label].sum())
        wrong = confusion[label].clone()
        wrong[label] = 0
        most = int(wrong.argmax())
        rows[classes[label]] = {
            "images": images,
            **_share(correct, images),
            "precision": correct / predicted if predicted else None,
            "taken_for": {"class": classes[most], "images": int(wrong[most])} if wrong[most] else None,
        }
    return rows


def report(result: Mapping[str, Any], pictures: Path | None) -> None:
    """Print what `measure` found."""
    print(
        f"test accuracy {result['top_1']['accuracy']:.2%} of {result['images']:,} images of {printable(result['data'])}"
    )
    for name, text in _lines(result):
        print(f"{name:<14}{text}")
    if pictures:
        print(f"{'pictures':<14}{pictures}/confusion.png, reliability.png")
    print()
    Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False).print(_table(result["classes"]))


def _lines(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [("95% interval", f"{_interval(result['top_1'])} (Wilson)")]
    if "top_1_with_mirror" in result:
        share = result["top_1_with_mirror"]
        lines.append(("with mirror", f"{_with_interval(share)}: logits of image and mirror image averaged"))
    if "top_5" in result:
        lines.append(("top-5", _with_interval(result["top_5"])))
    error = result["calibration"]["error"]
    speed = f"{result['images_per_second']:,.0f} images/s on {result['device']}, {result['precision']}"
    return [
        *lines,
        ("loss", f"{result['loss']:.4f}"),
        *((name, f"{value:.4f}") for name, value in result["metrics"].items()),
        ("calibration", f"{error:.2%} expected calibration error ({BINS} bins)"),
        ("speed", speed),
    ]


def _with_interval(share: Mapping[str, Any]) -> str:
    return f"{share['accuracy']:.2%} ({_interval(share)})"


def _interval(share: Mapping[str, Any]) -> str:
    low, high = share["interval"]
    return f"{low:.2%} to {high:.2%}"


def _table(classes: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for title in ("images", "accuracy", "95% interval", "precision"):
        table.add_column(title, justify="right")
    table.add_column("most often taken for")
    for name, row in classes.items():
        precision = "-" if row["precision"] is None else f"{row['precision']:.1%}"
        wrong = row["taken_for"]
        mistaken = f"{printable(wrong['class'])} ({wrong['images'] / row['images']:.1%})" if wrong else "-"
        low, high = row["interval"]
        table.add_row(
            printable(name),
            f"{row['images']:,}",
            f"{row['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}",
            precision,
            mistaken,
        )
    return table
