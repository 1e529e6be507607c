"""Evaluating a network of tens of thousands of classes takes memory by its images, not by the square of its classes."""

import io
import json
import resource

import pytest
import torch

from convmixer.trained.classification_metrics import confusion_cells, confusion_matrix, joined, score
from convmixer.trained.evaluate import _confusion_figure
from convmixer.trained.evaluation_table import FEW_ROWS, _shown, measure
from convmixer.training.metrics import METRICS


@pytest.fixture(scope="module")
def figures() -> dict:
    """Of 3,000 images and 60,000 classes, in batches."""
    random = torch.Generator().manual_seed(0)
    batches = (
        score(torch.randn(100, 60_000, generator=random), torch.randint(60_000, (100,), generator=random), {})
        for _ in range(30)
    )
    scores = joined(batches, 3000)
    classes = [f"class {number}" for number in range(60_000)]
    buffer = io.BytesIO()
    _confusion_figure(scores, classes, "many").savefig(buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")
    return measure(scores, classes)


def test_there_are_no_more_cells_than_images(figures: dict) -> None:
    assert figures["confusion"] is None
    assert sum(n for _, _, n in figures["confusion_cells"]) == 3000 >= len(figures["confusion_cells"])
    assert len(json.dumps(figures)) < 2_000_000
    assert len(_shown(figures["classes"])) == FEW_ROWS < len(figures["classes"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4_000_000  # KiB; the matrix alone would take 28.8 GB


def test_the_cells_are_those_of_the_matrix() -> None:
    labels, predicted = torch.randint(7, (50,)), torch.randint(7, (50,))
    matrix = torch.zeros(7, 7, dtype=torch.int64)
    for label, taken_for, n in confusion_cells(predicted, labels, 7):
        matrix[label, taken_for] = n
    assert matrix.equal(confusion_matrix(predicted, labels, 7))


def test_batches_are_scored_as_the_whole_is() -> None:
    logits, labels = torch.randn(30, 12), torch.randint(12, (30,))
    name, metric = next(iter(METRICS.items()))
    whole = score(logits, labels, {name: metric}, logits.flip(1))
    batches = zip(logits.split(7), labels.split(7), strict=True)
    parts = joined((score(a, b, {name: metric}, a.flip(1)) for a, b in batches), 30)
    classes = list(map(str, range(12)))
    assert json.dumps(measure(whole, classes)) == json.dumps(measure(parts, classes))
