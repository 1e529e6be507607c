"""Accuracy and loss of a model over a split."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convmixer.data.batches import Batches


@torch.inference_mode()
def predict_logits(
    model: nn.Module, batches: Batches, autocast: AbstractContextManager | None = None
) -> tuple[Tensor, Tensor]:
    """The logits `[n, classes]` (float32) and labels `[n]` of a whole split. Leaves the model in eval mode."""
    model.eval()
    with autocast or nullcontext():
        outputs = [(model(images), labels) for images, labels in batches.epoch()]
    logits, labels = zip(*outputs, strict=True)
    return torch.cat(logits).float(), torch.cat(labels)


def evaluate(
    model: nn.Module,
    batches: Batches,
    autocast: AbstractContextManager | None = None,
    add_up: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy (0 to 1) of a model over a split.

    Args:
        add_up: sums, float64 on the host, over all workers, where each has a part of the split.
    """
    logits, labels = predict_logits(model, batches, autocast)
    n = len(labels)
    loss = F.cross_entropy(logits, labels).item() * n
    hits = (logits.argmax(1) == labels).sum().item()
    loss, hits, n = add_up(torch.tensor([loss, hits, n], dtype=torch.float64))
    return (loss / n).float().item(), (hits / n).float().item()
