"""Sums of training metrics, kept on the device: over the interval since the last report, and over the epoch."""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from convmixer.training.divergence import ENOUGH_IMAGES, Diverged, is_spike


class RunningMetrics:
    """Sums over images of loss, correct predictions, 1 and gradient norm. Adding to them does not wait for the device.

    Args:
        n_classes: of the data, for `spikes_diverge`.
        spikes_diverge: a jump of the loss (`divergence.is_spike`) raises `Diverged`.

    Attributes:
        interval: the sums since the last report, `[4]`.
        epoch: the sums of the epoch up to the last report, `[4]`.
        epoch_loss: the mean loss of the last whole epoch; infinity in the first one.
    """

    def __init__(self, device: torch.device, n_classes: int, spikes_diverge: bool) -> None:
        self.device = device
        self.n_classes = n_classes
        self.spikes_diverge = spikes_diverge
        self.interval = self._zeros()
        self.epoch = self._zeros()
        self.epoch_loss = math.inf
        self._interval_started = 0.0
        # Images of the interval and of the epoch that an earlier attempt trained on: they are not in this one's speed.
        self._restored = [0.0, 0.0]

    def _zeros(self) -> Tensor:
        return torch.zeros(4, device=self.device)

    def restore(self, interval: Tensor, epoch: Tensor, epoch_loss: float) -> None:
        """Continue with the sums of an earlier attempt."""
        self.interval, self.epoch, self.epoch_loss = interval.to(self.device), epoch.to(self.device), epoch_loss
        count = interval[2].item()
        self._restored = [count, count + epoch[2].item()]

    def start_clock(self) -> None:
        """Begin to measure the time of an interval."""
        self._interval_started = time.perf_counter()

    def add(
        self, loss: Tensor, logits: Tensor, labels: Tensor, norm: Tensor, all_reduce_sum: Callable[[Tensor], Tensor]
    ) -> None:
        """Add a batch.

        Args:
            loss: the sum over its images.
            logits: `[batch, n_classes]`.
            labels: classes `[batch]`, or probabilities `[batch, n_classes]`.
            norm: of its gradient.
            all_reduce_sum: adds up over all workers, where each has a part of the batch.
        """
        classes = labels if labels.dim() == 1 else labels.argmax(1)  # for a mixed image, the class of the larger share
        correct = (logits.argmax(1) == classes).float().sum()
        n = torch.full_like(correct, len(labels))
        self.interval += all_reduce_sum(torch.stack([loss.float(), correct, n, norm.float() * n]))

    def take(self) -> list[float]:
        """Return the interval's sums of loss, correct predictions, images and gradient norm, and begin a new interval.

        This waits for the device.
        """
        sums = self.interval.tolist()
        self.epoch += self.interval
        self.interval = self._zeros()
        return sums

    def report(self, step: int) -> dict[str, float]:
        """Return the means over the interval, and begin a new one.

        Args:
            step: the update, for errors.

        Raises:
            Diverged: the loss is not finite, or jumped.
        """
        loss, correct, count, norm = self.take()
        _check_finite(loss, count, step)
        if self.spikes_diverge:
            self._check_jump(loss, count, step)
        now = time.perf_counter()
        elapsed, self._interval_started = now - self._interval_started, now
        restored, self._restored[0] = self._restored[0], 0.0
        return {
            "loss.train": loss / count,
            "accuracy.train": correct / count,
            "norm.gradient": norm / count,
            "time.images_per_second": (count - restored) / elapsed,
        }

    def check(self, step: int) -> None:
        """Raise `Diverged` if the loss of the interval so far is not finite."""
        loss, _, count, _ = self.interval.tolist()
        _check_finite(loss, count, step)

    def _check_jump(self, loss: float, count: float, step: int) -> None:
        """Raise `Diverged` if the loss jumped: over an interval or, if that has few images, over its epoch so far."""
        if count < ENOUGH_IMAGES:
            loss, _, count, _ = self.epoch.tolist()
        if count >= ENOUGH_IMAGES and is_spike(loss / count, self.epoch_loss, self.n_classes):
            raise Diverged(
                f"the loss jumped to {loss / count:.3g} within the last {count:.0f} images (step {step}), "
                f"{self.epoch_loss:.3g} was the epoch before"
            )

    def end_epoch(self, seconds: float) -> dict[str, float]:
        """Return the means over the epoch, which took `seconds`, and begin a new one."""
        loss, correct, count, _ = self.epoch.tolist()
        self.epoch = self._zeros()
        self.epoch_loss = loss / count
        restored, self._restored[1] = self._restored[1], 0.0
        return {
            "loss.train": loss / count,
            "accuracy.train": correct / count,
            "time.images_per_second": (count - restored) / seconds,
        }


def _check_finite(loss: float, count: float, step: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"the loss became {loss:g} within the last {count:.0f} images (step {step})")
