"""What is said of a classifier, from its logits and the right labels."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

Z_95 = 1.959964  # standard deviations that hold 95 % of a normal distribution
BINS = 15


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share of which `correct` in `n` were observed.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927. In contrast
    to correct / n plus or minus two standard errors, it stays within 0 to 1 and holds for few images and high accuracy.
    """
    share, z = correct / n, Z_95
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At 0 and 1 rounding could leave out what was observed, or end beyond.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def correct_in_top(logits: Tensor, labels: Tensor, k: int) -> int:
    """Images `[n, classes]` whose label `[n]` is among the `k` largest logits."""
    return int((logits.topk(k).indices == labels[:, None]).sum())


def confusion_matrix(predicted: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """How many images of each class (row) were taken for each class (column): int64 `[classes, classes]`.

    Args:
        predicted: classes `[n]`.
        labels: the right ones `[n]`.
    """
    return torch.bincount(labels * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)


@dataclass(frozen=True)
class Calibration:
    """How far a network's confidence is from its accuracy; bin `i` holds confidences in (i / bins, (i + 1) / bins].

    Attributes:
        images: in each bin, int64 `[bins]`.
        confidence: the mean in each bin, `[bins]`; 0 where a bin is empty.
        accuracy: likewise.
        error: the expected calibration error, 0 to 1.
    """

    images: Tensor
    confidence: Tensor
    accuracy: Tensor
    error: float


def calibration(logits: Tensor, labels: Tensor, bins: int = BINS) -> Calibration:
    """Confidence, the largest softmax output, against accuracy, in bins of equal width.

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
