"""The training loop."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convmixer.data.batches import Batch, Batches
from convmixer.errors import TrainingFault
from convmixer.evaluation import evaluate
from convmixer.training.averaging import AveragedWeights
from convmixer.training.schedules import Schedule
from convmixer.training.stochastic_depth import StochasticDepth

SAVES_PER_EPOCH = 10  # points on a training curve; each reads the device once


class Observer(Protocol):
    """What a trainer tells while it trains; `tracking.recorder.Recorder` is one."""

    def metrics(self, images: int, values: dict[str, float]) -> None:
        """Values measured after `images` training images."""

    def stepped(self, trainer: "Trainer") -> None:
        """An update was made."""

    def epoch_ended(self, trainer: "Trainer", values: dict[str, float]) -> None:
        """An epoch, or the last part of one, was trained and validated."""

    def should_stop(self) -> bool:
        """Whether to stop after this batch."""

    def stopping(self, trainer: "Trainer") -> None:
        """Training is about to stop because the observer asked for it."""


class Trainer:
    """Trains `model` for `total_steps` updates.

    Between two updates its whole state is `state_dict()`: a trainer that loads it goes on as if it had never stopped.

    Args:
        precision: the autocast type; float32 means no autocast.
        compile_mode: train through `torch.compile` in this mode of its; None: as it is.
        micro_batch_size: images that go through the network at once, where a batch goes in parts.
        average: of the model's weights; it is what gets validated, and saved as `model`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        train: Batches,
        valid: Batches | None,
        total_steps: int,
        label_smoothing: float = 0.0,
        gradient_clip: float | None = None,
        precision: torch.dtype = torch.float32,
        compile_mode: str | None = None,
        micro_batch_size: int | None = None,
        stochastic_depth: StochasticDepth | None = None,
        average: AveragedWeights | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.train = train
        self.valid = valid
        self.total_steps = total_steps
        self.label_smoothing = label_smoothing
        self.gradient_clip = gradient_clip if gradient_clip is not None else math.inf
        self.precision = precision
        self.device = train.device
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=precision is torch.float16 and self.device.type == "cuda"
        )
        self.compile_mode = compile_mode
        self.forward: Callable[..., Tensor] = torch.compile(model, mode=compile_mode) if compile_mode else model
        self.micro_batch_size = micro_batch_size
        self.stochastic_depth = stochastic_depth
        self.average = average
        self.learning_rates = [group["lr"] for group in optimizer.param_groups]
        self.step = 0
        self.seconds = 0.0  # training time so far, validation included, over all attempts
        self.warm_up_seconds = 0.0  # of it, the first update of each attempt
        self._is_cold = True
        self.best_accuracy = -1.0
        self._interval = self._zeros()
        self._epoch_sums = self._zeros()
        self._interval_started = 0.0

    @property
    def evaluated_model(self) -> nn.Module:
        """The network that is validated and tested: the average, where there is one."""
        return self.average.model if self.average else self.model

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train)

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.step // self.steps_per_epoch

    @property
    def images(self) -> int:
        """Training images seen."""
        within = self.step % self.steps_per_epoch * self.train.batch_size
        return self.epoch * self.train.n_images + within

    def seconds_left(self) -> float:
        """What the remaining updates take at the rate so far."""
        return self.seconds / max(self.step, 1) * (self.total_steps - self.step)

    def fit(self, observer: Observer) -> None:
        """Train up to `total_steps`.

        Raises:
            KeyboardInterrupt: the observer asked to stop, and was told.
            TrainingFault: the loss, or a weight, is no longer finite.
        """
        while self.step < self.total_steps:
            started = time.perf_counter()
            before = self.seconds
            self._train_epoch(observer, started, before)
            values = self._epoch_metrics(time.perf_counter() - started)
            self.seconds = before + time.perf_counter() - started
            observer.epoch_ended(self, values)

    def _train_epoch(self, observer: Observer, started: float, before: float) -> None:
        self.model.train()
        self._interval_started = time.perf_counter()
        save_every = math.ceil(self.steps_per_epoch / SAVES_PER_EPOCH)
        first = self.step % self.steps_per_epoch
        for number, batch in enumerate(self.train.epoch(self.epoch, first), first + 1):
            self._warm_up(batch) if self._is_cold else self.train_step(batch)
            observer.stepped(self)
            ended = number == self.steps_per_epoch or self.step == self.total_steps
            if number % save_every == 0 or ended:
                observer.metrics(self.images, self._interval_metrics())
            if ended:
                return
            if observer.should_stop():
                self.seconds = before + time.perf_counter() - started
                observer.stopping(self)
                raise KeyboardInterrupt

    def train_step(self, batch: Batch) -> None:
        """One update. Loss and accuracy are summed on the device; nothing waits for it."""
        images, labels = batch
        self._set_learning_rate()
        loss, logits = self._backward(images, labels)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        if self.average:
            self.average.update(self.step)
        self._add(loss, logits, labels, norm)

    def _warm_up(self, batch: Batch) -> None:
        """The first update of an attempt, timed by itself: it compiles, allocates and chooses kernels."""
        started = time.perf_counter()
        self.train_step(batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.warm_up_seconds += time.perf_counter() - started
        self._is_cold = False

    def _backward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Leave the gradients of the mean loss in the parameters, from one part of the batch after another.

        Returns:
            That loss, and the logits `[batch, n_classes]`.
        """
        self.optimizer.zero_grad(set_to_none=True)
        n = len(labels)
        size = self.micro_batch_size or n
        scales = self._residual_scales(n)
        losses, logits = [], []
        for part in map(slice, range(0, n, size), range(size, n + size, size)):
            extra = [] if scales is None else [scales[:, part]]
            with self.autocast():
                logits.append(self.forward(images[part], *extra))
                loss = F.cross_entropy(logits[-1], labels[part], label_smoothing=self.label_smoothing)
            if size < n:
                loss = loss * (len(logits[-1]) / n)
            self.scaler.scale(loss).backward()
            logits[-1] = logits[-1].detach()
            losses.append(loss.detach())
        return torch.stack(losses).sum(), torch.cat(logits)

    def _residual_scales(self, n: int) -> Tensor | None:
        """`[n_layers, n]` for the next batch."""
        if self.stochastic_depth is None:
            return None
        first = self.step % self.steps_per_epoch * self.train.batch_size
        return self.stochastic_depth.scales(self.epoch, first, n)

    def autocast(self) -> AbstractContextManager:
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    def _set_learning_rate(self) -> None:
        factor = self.schedule((self.step + 0.5) / self.total_steps)
        for group, learning_rate in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = learning_rate * factor

    def _zeros(self) -> Tensor:
        """Sums over images of loss, hits, 1 and gradient norm."""
        return torch.zeros(4, device=self.device)

    def _add(self, loss: Tensor, logits: Tensor, labels: Tensor, norm: Tensor) -> None:
        classes = labels if labels.dim() == 1 else labels.argmax(1)  # of a mixed image: the larger share's
        hits = (logits.argmax(1) == classes).float().mean()
        means = torch.stack([loss.float(), hits, torch.ones_like(hits), norm.float()])
        self._interval += means * len(labels)

    def take_sums(self) -> list[float]:
        """Sums over the images since the last call: loss, hits, images, gradient norm. Waits for the device."""
        sums = self._interval.tolist()
        self._epoch_sums += self._interval
        self._interval = self._zeros()
        return sums

    def _interval_metrics(self) -> dict[str, float]:
        loss, hits, count, norm = self.take_sums()
        if not math.isfinite(loss):
            raise TrainingFault(f"the loss became {loss:g} within the last {count:.0f} images (step {self.step})")
        now = time.perf_counter()
        elapsed, self._interval_started = now - self._interval_started, now
        return {
            "loss.train": loss / count,
            "accuracy.train": hits / count,
            "optim.lr": self.optimizer.param_groups[0]["lr"],
            "norm.gradient": norm / count,
            "norm.weight": self._weight_norm(),
            "time.images_per_second": count / elapsed,
        }

    def _weight_norm(self) -> float:
        with torch.no_grad():
            norm = nn.utils.get_total_norm([p.detach() for p in self.model.parameters()]).item()
        if not math.isfinite(norm):
            raise TrainingFault(f"a weight became {norm:g} (step {self.step})")
        return norm

    def _epoch_metrics(self, elapsed: float) -> dict[str, float]:
        """Means over the whole epoch, and validation where there is a validation split."""
        loss, hits, count, _ = self._epoch_sums.tolist()
        self._epoch_sums = self._zeros()
        values = {"loss.train": loss / count, "accuracy.train": hits / count}
        values["time.images_per_second"] = count / elapsed
        if self.valid is not None:
            loss, accuracy = evaluate(self.evaluated_model, self.valid, self.autocast())
            values |= {"loss.valid": loss, "accuracy.valid": accuracy}
        return values

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, and the sums of metrics not yet reported."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "warm_up_seconds": self.warm_up_seconds,
            "best_accuracy": self.best_accuracy,
            "model": self.evaluated_model.state_dict(),
            "model_in_training": self.model.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "interval": self._interval,
            "epoch_sums": self._epoch_sums,
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.evaluated_model.load_state_dict(state["model"])
        if self.average:
            self.model.load_state_dict(state["model_in_training"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.warm_up_seconds = state.get("warm_up_seconds", 0.0)  # runs of before it was kept
        self.best_accuracy = state["best_accuracy"]
        self._interval = state["interval"].to(self.device)
        self._epoch_sums = state["epoch_sums"].to(self.device)
        torch.set_rng_state(state["generator"])
        if len(state["cuda_generators"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_generators"])
