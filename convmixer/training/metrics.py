"""Defines metrics of the validation images, beside loss and accuracy: `metrics=[top_5]`."""

from collections.abc import Callable

from torch import Tensor

# Takes logits [n, classes] and labels [n], returns a number for each image, float or bool [n]. Their mean is recorded.
Metric = Callable[[Tensor, Tensor], Tensor]


def top_5(logits: Tensor, labels: Tensor) -> Tensor:
    """Return True for each image whose label `[n]` is among its five largest logits `[n, classes]`: bool `[n]`."""
    return (logits.topk(min(5, logits.shape[1])).indices == labels[:, None]).any(1)


# Metrics by name; they are recorded as `top_5.valid`. Add your own from a script: METRICS["mine"] = mine.
METRICS: dict[str, Metric] = {"top_5": top_5}
