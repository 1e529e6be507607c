"""A trained network measured on labelled images, in full: the command `evaluate`."""

import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from convmixer.console import Console
from convmixer.data.splits import Split
from convmixer.errors import UserError
from convmixer.files.atomic import check_output
from convmixer.trained.classification_metrics import calibration, confusion_matrix
from convmixer.trained.classifier import Classifier
from convmixer.trained.evaluation_figures import confusion_figure, reliability_figure
from convmixer.trained.evaluation_table import measure, report
from convmixer.trained.network import Trained
from convmixer.trained.weight_files import write_file
from convmixer.training.hardware import describe_device, versions
from convmixer.training.metrics import METRICS

# What may be other than it was in training: where the images are and how they are read, where and how it computes.
CHANGEABLE = ("data.dataset", "data.path", "data.image_size", "device", "precision", "valid_batch_size")


def evaluate(
    trained: Trained,
    split: Split,
    name: str,
    tta: bool = False,
    json_file: str | None = None,
    output: Path | None = None,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure a network on labelled images, print what came out, and return it as `--json` holds it.

    Args:
        split: the images.
        name: of the data, for what is printed.
        tta: measure also with the logits of image and mirror image averaged.
        json_file: where to write the figures, `-` for standard output in place of the printed ones.
        output: the folder for pictures; None: no pictures.
        values: other values for the keys in `CHANGEABLE` than in training.

    Raises:
        UserError: a place that can't be written to.
    """
    values = values or {}
    _check_places(output, json_file)
    classifier = Classifier(trained, values.get("device", "auto"), values.get("precision"))
    batch_size = values.get("valid_batch_size", trained.configs["valid_batch_size"])
    logits, rate = _all_logits(classifier, split.images, batch_size)
    mirrored, _ = _all_logits(classifier, split.images, batch_size, mirrored=True) if tta else (None, 0)
    metrics = {metric: METRICS[metric] for metric in trained.configs.get("metrics", ()) if metric in METRICS}
    result = {
        "network": trained.name,
        "data": name,
        "images": len(split.labels),
        **measure(logits, split.labels, trained.classes, mirrored, metrics),
        "images_per_second": rate,
        "device": describe_device(classifier.device),
        "precision": str(classifier.precision).removeprefix("torch."),
        "versions": versions(),
    }
    if output:
        _save_pictures(output, logits, split.labels, trained.classes, f"{trained.name} on {name}")
    if json_file == "-":
        print(json.dumps(result))
    else:
        report(result, output)
    if json_file not in (None, "-"):
        write_file(Path(json_file), json.dumps(result, indent=1).encode())
    return result


def _check_places(output: Path | None, json_file: str | None) -> None:
    """Find out before the work whether its results can be kept."""
    try:
        if output:
            output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: can't be written: {error.strerror}; --output names another folder") from None
    if json_file not in (None, "-"):
        check_output(Path(json_file), "--json")


def _all_logits(
    classifier: Classifier, images: Tensor, batch_size: int, mirrored: bool = False
) -> tuple[Tensor, float]:
    """The logits `[n, classes]` of uint8 `[n, height, width, channels]`, and images/s without the first batch."""
    console = Console(stderr=True)
    batches = images.split(batch_size)
    shown = track(batches, "mirrored" if mirrored else "evaluating", console=console, disable=not console.is_terminal)
    logits, ends = [], [time.perf_counter()]
    for batch in shown:
        logits.append(classifier.logits(batch, mirrored))
        ends.append(time.perf_counter())
    warm_up = 1 if len(batches) > 1 else 0
    return torch.cat(logits), sum(map(len, batches[warm_up:])) / (ends[-1] - ends[warm_up])


def _save_pictures(folder: Path, logits: Tensor, labels: Tensor, classes: Sequence[str], title: str) -> None:
    matrix = confusion_matrix(logits.argmax(1), labels, len(classes))
    figures = {
        "confusion.png": confusion_figure(matrix, classes, f"Confusion: {title}"),
        "reliability.png": reliability_figure(calibration(logits, labels), f"Reliability: {title}"),
    }
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=110)
        write_file(folder / name, buffer.getvalue())
