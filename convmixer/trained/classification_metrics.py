"""Metrics of a classifier, computed from its logits and the true labels."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

Z_95 = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
BINS = 15


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


def correct_in_top(logits: Tensor, labels: Tensor, k: int) -> int:
    """Count the images whose label `[n]` is among the `k` largest of their logits `[n, classes]`."""
    return int((logits.topk(k).indices == labels[:, None]).sum())


def confusion_matrix(predicted: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Count the images of each true class (row) by predicted class (column): int64 `[classes, classes]`.

    Args:
        predicted: predicted classes `[n]`.
        labels: true classes `[n]`.
    """
    return torch.bincount(labels * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)


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
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    bin_of = torch.bucketize(confidence, edges)  # an edge belongs to the bin below it
    images = torch.bincount(bin_of, minlength=bins)
    sums = torch.zeros(2, bins, dtype=torch.float64)
    sums[0].index_add_(0, bin_of, confidence)
    sums[1].index_add_(0, bin_of, (predicted == labels).double())
    error = (sums[0] - sums[1]).abs().sum() / len(labels)
    mean_confidence, accuracy = sums / images.clamp(min=1)
    return Calibration(images, mean_confidence, accuracy, error.item())
