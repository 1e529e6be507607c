"""Computes all results of an evaluation from the scores of images, and prints them as tables."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from convmixer.console import counted, printable, rich_console
from convmixer.trained.classification_metrics import (
    BINS,
    Scores,
    calibration_of,
    confusion_cells,
    confusion_matrix,
    wilson_interval,
)
from convmixer.trained.views import DESCRIPTIONS

MOST_IN_MATRIX = 1000  # classes; with more, only the cells of the confusion matrix that hold images are given
MOST_ROWS = 1000  # classes in the table on the terminal; with more, only some
FEW_ROWS = 100  # then


def measure(scores: Scores, classes: Sequence[str], tta: str | None = None) -> dict[str, Any]:
    """Compute every figure of an evaluation, in plain values; shares are 0 to 1, intervals those of 95 %.

    Args:
        tta: the test-time views that were scored too, one of `views.VIEWS`.
    """
    n, is_correct = len(scores.labels), scores.predicted == scores.labels
    found = calibration_of(scores.confidence, is_correct)
    correct = {"top_1": is_correct} | ({"top_5": scores.in_top_5} if len(classes) > 5 else {})
    if tta:
        correct[f"top_1_with_{tta}"] = scores.right_with_views
    return {name: _share(int(right.sum()), n) for name, right in correct.items()} | {
        "loss": scores.loss.mean().item(),
        "metrics": {name: values.mean().item() for name, values in scores.metrics.items()},
        "classes": _per_class(confusion_cells(scores.predicted, scores.labels, len(classes)), classes),
        **_confusion(scores, len(classes)),
        "calibration": {
            "error": found.error,
            "bins": BINS,
            "images": found.images.tolist(),
            "confidence": found.confidence.tolist(),
            "accuracy": found.accuracy.tolist(),
        },
    }


def _confusion(scores: Scores, n_classes: int) -> dict[str, Any]:
    if n_classes <= MOST_IN_MATRIX:
        return {"confusion": confusion_matrix(scores.predicted, scores.labels, n_classes).tolist()}
    return {"confusion": None, "confusion_cells": confusion_cells(scores.predicted, scores.labels, n_classes)}


def _share(correct: int, n: int) -> dict[str, Any]:
    return {"accuracy": correct / n, "interval": list(wilson_interval(correct, n))}


def _per_class(cells: Sequence[tuple[int, int, int]], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compute of each class with images: recall (`accuracy`), precision, and what it is most often taken for."""
    images, predicted, correct = Counter[int](), Counter[int](), Counter[int]()
    mistakes: dict[int, tuple[int, int]] = {}  # of each class, the class it is most often taken for, and how often
    for label, taken_for, n in cells:
        images[label] += n
        predicted[taken_for] += n
        if label == taken_for:
            correct[label] = n
        elif n > mistakes.get(label, (0, 0))[1]:
            mistakes[label] = taken_for, n
    rows = {}
    for label in images:
        most, n = mistakes.get(label, (0, 0))
        rows[classes[label]] = {
            "images": images[label],
            **_share(correct[label], images[label]),
            "precision": correct[label] / predicted[label] if predicted[label] else None,
            "taken_for": {"class": classes[most], "images": n} if n else None,
        }
    return rows


def report(result: Mapping[str, Any], pictures: Path | None) -> None:
    """Print the results of `measure`, and where the pictures are."""
    print(
        f"test accuracy {result['top_1']['accuracy']:.2%} of {counted(result['images'], 'image')} "
        f"of {printable(result['data'])}"
    )
    for name, text in _lines(result):
        print(f"{name:<14}{text}")
    if pictures:
        print(f"{'pictures':<14}{pictures}/confusion.png, reliability.png")
    print()
    classes = _shown(result["classes"])
    rich_console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False).print(_table(classes))
    if len(classes) < len(result["classes"]):
        print(f"the {len(classes)} least accurate of {len(result['classes']):,} classes; --json FILE has all")


def _shown(classes: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    if len(classes) <= MOST_ROWS:
        return classes
    return dict(sorted(classes.items(), key=lambda item: (item[1]["accuracy"], -item[1]["images"]))[:FEW_ROWS])


def _lines(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [("95% interval", f"{_interval(result['top_1'])} (Wilson)")]
    for tta, description in DESCRIPTIONS.items():
        if f"top_1_with_{tta}" in result:
            lines.append((f"with {tta}", f"{_with_interval(result[f'top_1_with_{tta}'])}: {description}"))
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
