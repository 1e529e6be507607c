"""Metrics of a classifier, computed from its logits and the true labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from convmixer.training.metrics import Metric

Z_95 = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
BINS = 15
PARTS = ("labels", "predicted", "confidence", "loss", "in_top_5", "right_with_views")  # of `Scores`, beside its metrics


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion, of which `correct` in `n` were observed.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927. In contrast
    to correct / n plus or minus two standard errors, it stays between 0 and 1, also for few images and high accuracy.
    """
    share, z = correct / n, Z_95
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # Rounding must not exclude the observed share, nor go beyond 0 and 1.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def confusion_matrix(predicted: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Count the images of each true class (row) by predicted class (column): int64 `[classes, classes]`.

    Args:
        predicted: predicted classes `[n]`.
        labels: true classes `[n]`.
    """
    return torch.bincount(labels * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)


@dataclass(frozen=True)
class Scores:
    """Holds what an evaluation keeps of each image: logits of tens of thousands of classes would fill the memory.

    Attributes:
        labels: the right classes, int64 `[n]`.
        predicted: the classes with the largest logit, int64 `[n]`.
        confidence: their softmax, float64 `[n]`.
        loss: the cross-entropy, float64 `[n]`.
        in_top_5: `[n]`.
        right_with_views: whether the mean logits of test-time views are right, `[n]`; empty where there are none.
        metrics: of each metric, float64 `[n]`.
    """

    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    loss: Tensor
    in_top_5: Tensor
    right_with_views: Tensor
    metrics: dict[str, Tensor]


def score(logits: Tensor, labels: Tensor, metrics: Mapping[str, Metric], of_views: Tensor | None = None) -> Scores:
    """Score a batch.

    Args:
        logits: float32 `[n, classes]`.
        labels: int64 `[n]`.
        of_views: the mean logits of test-time views, float32 `[n, classes]`.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    top = logits.topk(min(5, logits.shape[1])).indices
    none = torch.empty(0, dtype=torch.bool)
    return Scores(
        labels,
        predicted,
        confidence,
        F.cross_entropy(logits, labels, reduction="none").double(),
        (top == labels[:, None]).any(1),
        none if of_views is None else of_views.argmax(1) == labels,
        {name: metric(logits, labels).double() for name, metric in metrics.items()},
    )


def joined(batches: Iterable[Scores], n: int) -> Scores:
    """Join the scores of batches, which are `n` images together.

    Memory for all is taken with the first batch: small tensors that stay between the logits of one batch and the next
    would keep that memory from being used again.
    """
    whole: dict[str, Tensor] = {}
    metrics: dict[str, Tensor] = {}
    done = 0
    for batch in batches:
        _put({name: getattr(batch, name) for name in PARTS}, whole, done, n)
        _put(batch.metrics, metrics, done, n)
        done += len(batch.labels)
    return Scores(**whole, metrics=metrics)


def _put(parts: Mapping[str, Tensor], whole: dict[str, Tensor], first: int, n: int) -> None:
    """Copy a batch's tensors into those of `n` images, from image `first` on; empty ones stay empty."""
    for name, part in parts.items():
        if name not in whole:
            whole[name] = part.new_empty(n if len(part) else 0)
        whole[name][first : first + len(part)] = part


def confusion_cells(predicted: Tensor, labels: Tensor, n_classes: int) -> list[tuple[int, int, int]]:
    """Return the cells of a confusion matrix that hold images: class, class taken for, images; in that order.

    There are no more of them than images, however many classes there are.
    """
    cells, counts = torch.unique(labels * n_classes + predicted, return_counts=True)
    return [(cell // n_classes, cell % n_classes, n) for cell, n in zip(cells.tolist(), counts.tolist(), strict=True)]


@dataclass(frozen=True)
class Calibration:
    """The calibration of a network: its confidence and its accuracy in bins of confidence.

    Bin `i` holds confidences in (i / bins, (i + 1) / bins].

    Attributes:
        images: the number of images in each bin, int64 `[bins]`.
        confidence: the mean confidence in each bin, `[bins]`; 0 in an empty bin.
        accuracy: the accuracy in each bin, `[bins]`; 0 in an empty bin.
        error: the expected calibration error, 0 to 1.
    """

    images: Tensor
    confidence: Tensor
    accuracy: Tensor
    error: float


def calibration(logits: Tensor, labels: Tensor, bins: int = BINS) -> Calibration:
    """Compare confidence, the largest softmax output, with accuracy in bins of equal width.

    The expected calibration error is the mean over images of |accuracy - confidence| of the image's bin.

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3, with its 15 bins.

    Args:
        logits: `[n, classes]`.
        labels: `[n]`.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    return calibration_of(confidence, predicted == labels, bins)


def calibration_of(confidence: Tensor, is_right: Tensor, bins: int = BINS) -> Calibration:
    """Return the calibration of images `[n]` by the confidence in each, and whether its class is right."""
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    bin_of = torch.bucketize(confidence, edges)  # an edge belongs to the bin below it
    images = torch.bincount(bin_of, minlength=bins)
    sums = torch.zeros(2, bins, dtype=torch.float64)
    sums[0].index_add_(0, bin_of, confidence)
    sums[1].index_add_(0, bin_of, is_right.double())
    error = (sums[0] - sums[1]).abs().sum() / len(is_right)
    mean_confidence, accuracy = sums / images.clamp(min=1)
    return Calibration(images, mean_confidence, accuracy, error.item())
