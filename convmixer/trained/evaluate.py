"""Evaluates a trained network on labelled images, for the command `evaluate`."""

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track

from convmixer.console import rich_console
from convmixer.data.splits import Split
from convmixer.errors import UserError
from convmixer.files.atomic import check_output
from convmixer.trained.classification_metrics import Scores, calibration_of, confusion_matrix, joined, score
from convmixer.trained.classifier import Classifier
from convmixer.trained.evaluation_figures import MAX_NAMED, confusion_figure, reliability_figure
from convmixer.trained.evaluation_table import MOST_IN_MATRIX, measure, report
from convmixer.trained.network import Trained
from convmixer.trained.views import VIEWS
from convmixer.trained.weight_files import write_file
from convmixer.training.hardware import describe_device, versions
from convmixer.training.metrics import METRICS, Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def evaluate(
    trained: Trained,
    split: Split,
    name: str,
    tta: str | None = None,
    json_file: str | None = None,
    output: Path | None = None,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure a network on labelled images, print the results, and return them in the format of `--json`.

    Args:
        split: the images with their labels.
        name: the name of the data, for the printed results.
        tta: also measure with test-time views, one of `views.VIEWS`.
        json_file: the file for the results; `-` prints them as JSON only.
        output: the folder for the pictures; None: no pictures.
        values: values of `device`, `precision` and `valid_batch_size` that differ from the training.

    Raises:
        UserError: a file can't be written, or the device or precision is not available.
    """
    values = values or {}
    _check_places(output, json_file)
    classifier = Classifier(trained, values.get("device", "auto"), values.get("precision"))
    batch_size = values.get("valid_batch_size", trained.configs["valid_batch_size"])
    metrics = {metric: METRICS[metric] for metric in trained.configs.get("metrics", ()) if metric in METRICS}
    scores, rate = _scores(classifier, split, batch_size, tta, metrics)
    result = {
        "network": trained.name,
        "data": name,
        "images": len(split.labels),
        **measure(scores, trained.classes, tta),
        "images_per_second": rate,
        "device": describe_device(classifier.device),
        "precision": str(classifier.precision).removeprefix("torch."),
        "versions": versions(),
    }
    if output:
        _save_pictures(output, scores, trained.classes, f"{trained.name} on {name}")
    if json_file == "-":
        print(json.dumps(result))
    else:
        report(result, output)
    if json_file not in (None, "-"):
        write_file(Path(json_file), json.dumps(result, indent=1).encode())
    return result


def _check_places(output: Path | None, json_file: str | None) -> None:
    """Check before the work that its results can be written."""
    try:
        if output:
            output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: can't be written: {error.strerror}; give another folder with --output") from None
    if json_file not in (None, "-"):
        check_output(Path(json_file), "--json")


def _scores(
    classifier: Classifier, split: Split, batch_size: int, tta: str | None, metrics: Mapping[str, Metric]
) -> tuple[Scores, float]:
    """The scores of the images, and images/s without the first batch."""
    console = rich_console(stderr=True)
    batches = list(zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True))
    seconds = []

    def scored() -> Iterator[Scores]:
        for images, labels in track(batches, "evaluating", console=console, disable=not console.is_terminal):
            begun = time.perf_counter()
            logits = classifier.logits(images)
            seconds.append(time.perf_counter() - begun)
            yield score(logits, labels, metrics, classifier.mean_logits(images, VIEWS[tta]) if tta else None)

    scores = joined(scored(), len(split.labels))
    warm_up = 1 if len(batches) > 1 else 0
    return scores, sum(len(images) for images, _ in batches[warm_up:]) / sum(seconds[warm_up:])


def _save_pictures(folder: Path, scores: Scores, classes: Sequence[str], title: str) -> None:
    found = calibration_of(scores.confidence, scores.predicted == scores.labels)
    figures = {
        "confusion.png": _confusion_figure(scores, classes, f"Confusion: {title}"),
        "reliability.png": reliability_figure(found, f"Reliability: {title}"),
    }
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=110)
        write_file(folder / name, buffer.getvalue())


def _confusion_figure(scores: Scores, classes: Sequence[str], title: str) -> "Figure":
    """Draw all classes; of very many, those with the most mistakes, and all others as one."""
    predicted, labels = scores.predicted, scores.labels
    if len(classes) > MOST_IN_MATRIX:
        mistaken, mistakes = labels[predicted != labels].unique(return_counts=True)
        worst = mistaken[mistakes.argsort(descending=True, stable=True)[: MAX_NAMED - 1]]
        number = torch.full((len(classes),), len(worst))
        number[worst] = torch.arange(len(worst))
        predicted, labels = number[predicted], number[labels]
        classes = [*(classes[label] for label in worst), f"the other {len(classes) - len(worst):,}"]
        title = f"{title}\n(the classes with the most mistakes)"
    return confusion_figure(confusion_matrix(predicted, labels, len(classes)), classes, title)
