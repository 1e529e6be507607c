"""Measures the loss, accuracy and other metrics of a model on a split."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convmixer.data.batches import Batches
from convmixer.training.metrics import Metric


@torch.inference_mode()
def predict_logits(
    model: nn.Module, batches: Batches, autocast: AbstractContextManager | None = None
) -> tuple[Tensor, Tensor]:
    """Return the logits `[n, classes]` (float32) and labels `[n]` of a whole split. The model stays in eval mode."""
    model.eval()
    with autocast or nullcontext():
        outputs = [(model(images), labels) for images, labels in batches.epoch()]
    logits, labels = zip(*outputs, strict=True)
    return torch.cat(logits).float(), torch.cat(labels)


def evaluate(
    model: nn.Module,
    batches: Batches,
    autocast: AbstractContextManager | None = None,
    metrics: Mapping[str, Metric] | None = None,
    all_reduce_sum: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> dict[str, float]:
    """Measure a model on a split.

    Args:
        metrics: more metrics to measure.
        all_reduce_sum: sums a float64 tensor on the CPU over all workers, each of which has a part of the split.

    Returns:
        The means over all images: `loss` (cross-entropy), `accuracy` (top-1, 0 to 1), and each metric by its name.
    """
    logits, labels = predict_logits(model, batches, autocast)
    sums = {
        "loss": F.cross_entropy(logits, labels).item() * len(labels),
        "accuracy": (logits.argmax(1) == labels).sum().item(),
    }
    for name, metric in (metrics or {}).items():  # summed on the CPU, as Apple's GPUs have no float64
        sums[name] = metric(logits, labels).cpu().sum(dtype=torch.float64).item()
    *totals, n = all_reduce_sum(torch.tensor([*sums.values(), len(labels)], dtype=torch.float64))
    return {name: (total / n).float().item() for name, total in zip(sums, totals, strict=True)}
