"""The training loop: updates, metrics and validation."""

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convmixer.data.batches import Batch, Batches
from convmixer.training.averaging import AveragedWeights
from convmixer.training.compiling import compiled
from convmixer.training.distributed.workers import ALONE, Workers
from convmixer.training.divergence import RATE_FACTOR, Diverged
from convmixer.training.evaluation import evaluate
from convmixer.training.hardware import autocast
from convmixer.training.metrics import Metric
from convmixer.training.observer import Observer
from convmixer.training.optimizers import decaying_groups, set_learning_rate
from convmixer.training.running_metrics import RunningMetrics
from convmixer.training.schedules import Schedule
from convmixer.training.step_graph import CudaRecorder, GraphedUpdate
from convmixer.training.stochastic_depth import StochasticDepth
from convmixer.training.trainer_state import restore, state_of
from convmixer.training.warm_up import warm_up

SAVES_PER_EPOCH = 10  # points on a training curve; each reads the device once


@dataclass(eq=False, repr=False)
class Trainer:
    """The training loop, which trains `model` for `total_steps` updates.

    Between two updates its whole state is `state_dict()`: a trainer that loads it continues as if it had never stopped.
    `dataclasses.replace` makes a trainer like this one, at its beginning, with other parts.

    Args:
        model: the network, on the training device.
        optimizer: the optimizer of its parameters.
        schedule: the factor of the learning rate by the fraction of training done.
        train: the batches that are trained on.
        valid: the batches of the validation split; None: no validation.
        total_steps: the number of updates.
        label_smoothing: the label-smoothing factor.
        gradient_clip: the maximum gradient norm; None: no clipping.
        precision: the autocast type; float32 means no autocast.
        compile_mode: the mode of `torch.compile`; None: do not compile.
        cuda_graph: record an update as a CUDA graph, once for each size of batch. Only on CUDA, and not in float16.
        micro_batch_size: the number of images that go through the network at a time; None: the whole batch.
        stochastic_depth: None: no stochastic depth.
        average: the moving average of the weights, which is validated, and saved as `model`; None: no average.
        workers: the processes that train together; `train` and `valid` make this worker's part of each batch.
        share_statistics: each worker's BatchNorm sees its own images; the first worker's running statistics are used.
        spikes_diverge: a jump of the loss (`divergence.is_spike`) ends `fit`, as a loss that is not finite does.
        metrics: more metrics of the validation images, beside loss and accuracy.

    Attributes:
        is_cold: no update was made in this attempt, not even to warm up.
        rewinds: how often the run went back to an earlier state, with a smaller learning rate.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    train: Batches
    valid: Batches | None
    total_steps: int
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    precision: torch.dtype = torch.float32
    compile_mode: str | None = None
    cuda_graph: bool = False
    micro_batch_size: int | None = None
    stochastic_depth: StochasticDepth | None = None
    average: AveragedWeights | None = None
    workers: Workers = ALONE
    share_statistics: bool = False
    spikes_diverge: bool = False
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = self.train.device
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision is torch.float16 and self.device.type == "cuda"
        )
        forward = compiled(self.model, self.compile_mode) if self.compile_mode else self.model
        self.forward = self.workers.data_parallel(forward, self.share_statistics)
        self.learning_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.current_rates = list(self.learning_rates)
        self.graphed = self._graphed_update() if self.cuda_graph else None
        self.step = 0
        self.seconds = 0.0  # training time so far, validation included, over all attempts
        # Of each attempt: before the training time, or the first update, which is part of it.
        self.warm_up_seconds = 0.0
        self.is_cold = True
        self.best_accuracy = -1.0
        self.rewinds = 0
        self.running = RunningMetrics(self.device, self.train.n_classes, self.spikes_diverge)

    @property
    def evaluated_model(self) -> nn.Module:
        """The network that is validated and tested: the average, if there is one."""
        return self.average.model if self.average else self.model

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train)

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return self.step // self.steps_per_epoch

    @property
    def images(self) -> int:
        """The number of training images seen."""
        within = self.step % self.steps_per_epoch * self.train.batch_size
        return self.epoch * self.train.n_images + within

    @property
    def is_mildly_augmented(self) -> bool:
        """True if the last update was made with mild operations alone, by `augment.off_for`."""
        return self.train.fully_augmented is not None and self.step > self.train.fully_augmented

    def fit(self, observer: Observer) -> None:
        """Train up to `total_steps`.

        Raises:
            KeyboardInterrupt: the observer asked to stop; its `checkpoint` was called before.
            Diverged: the loss, or a weight, is no longer finite, or the loss jumped up.
        """
        if self.is_cold and (self.compile_mode or self.device.type == "cuda") and self.step < self.total_steps:
            warm_up(self)
        while self.step < self.total_steps:
            started = time.perf_counter()
            before = self.seconds
            self._train_epoch(observer, started, before)
            values = self._epoch_metrics(time.perf_counter() - started)
            self.seconds = before + time.perf_counter() - started
            observer.epoch_ended(self, values)

    def _train_epoch(self, observer: Observer, started: float, before: float) -> None:
        self.model.train()
        self.running.start_clock()
        save_every = math.ceil(self.steps_per_epoch / SAVES_PER_EPOCH)
        first = self.step % self.steps_per_epoch
        if first == 0 or self.train.fully_augmented is None:  # `set` may change the length within an epoch
            self.train.fully_augmented = self.full_augmentation_until()
        for number, batch in enumerate(self.train.epoch(self.epoch, first), first + 1):
            self._first_step(batch) if self.is_cold else self.train_step(batch)
            observer.stepped(self)
            ended = number == self.steps_per_epoch or self.step == self.total_steps
            if number % save_every == 0 or ended:
                observer.metrics(self.images, self._interval_metrics())
            if ended:
                return
            is_stopping = observer.should_stop()
            if is_stopping or observer.checkpoint_is_due():
                self.running.check(self.step)
                self._weight_norm()
                self.seconds = before + time.perf_counter() - started
                observer.checkpoint(self)
            if is_stopping:
                raise KeyboardInterrupt

    def full_augmentation_until(self) -> int | None:
        """Return the number of updates until `augment.off_for` leaves mild operations alone; None: all."""
        augmentation = self.train.augmentation
        if not augmentation or not augmentation.off_for:
            return None
        return self.total_steps - round(augmentation.off_for * self.total_steps)

    def train_step(self, batch: Batch) -> None:
        """Make one update. Loss and accuracy are summed on the device, without waiting for it.

        Args:
            batch: images `[batch, channels, height, width]`, and labels `[batch]` or label shares `[batch, n_classes]`.
        """
        self._set_learning_rate()
        update = self.graphed or self._update
        loss, logits, norm = update(*self.inputs(batch))
        self.step += 1
        if self.average:
            self.average.update(self.step)
        self.running.add(loss, logits, batch[1], norm, self.workers.all_reduce_sum)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images, labels, and the factors of residual branches `[n_layers, batch]` or None for all 1."""
        images, labels = batch
        return images, labels, self._residual_scales(self._batch_length(labels))

    def _update(self, images: Tensor, labels: Tensor, scales: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Change the weights by one update, with the learning rates as they are set. It does not wait for the device.

        Returns:
            The sum of the losses of this worker's images, their logits `[batch, n_classes]`, and the gradient's norm.
        """
        loss, logits = self._backward(images, labels, scales)
        self.scaler.unscale_(self.optimizer)
        largest = math.inf if self.gradient_clip is None else self.gradient_clip
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), largest)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss, logits, norm

    def _graphed_update(self) -> GraphedUpdate:
        recorder = CudaRecorder(self.device)
        return GraphedUpdate(self._update, self.model, self.optimizer, self._recorded_values, recorder)

    def _recorded_values(self) -> tuple:
        """Return the values of an update that a CUDA graph holds, and that `adjusting.Adjuster` may change."""
        decays = [group["weight_decay"] for group in decaying_groups(self.optimizer)]
        return self.label_smoothing, self.gradient_clip, self.micro_batch_size, *decays

    def _first_step(self, batch: Batch) -> None:
        """Make the first update of an attempt and measure its time, as it allocates memory."""
        started = time.perf_counter()
        self.train_step(batch)
        self.warm_up_seconds += time.perf_counter() - started
        self.is_cold = False

    def _batch_length(self, labels: Tensor) -> int:
        """Return the number of images of the batch at hand, of all workers."""
        return len(labels) if self.workers.is_alone else self.train.length(self.step % self.steps_per_epoch)

    def _backward(self, images: Tensor, labels: Tensor, scales: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the whole batch's mean loss, one part after another.

        Returns:
            The sum of the losses of this worker's images, and their logits `[batch, n_classes]`.
        """
        self.optimizer.zero_grad(set_to_none=True)
        n = self._batch_length(labels)
        parts = self.workers.parts(n, self.micro_batch_size)
        sizes = [part.stop - part.start for part in parts]
        losses, logits = [], []
        for part, some, their_labels in zip(parts, images.split(sizes), labels.split(sizes), strict=True):
            extra = [] if scales is None else [scales[:, part]]
            with self.workers.no_sync(self.forward, part is not parts[-1]):
                with self.autocast():
                    logits.append(self.forward(some, *extra))
                    loss = self._loss(logits[-1], their_labels)
                share = len(their_labels) / n
                self.scaler.scale(loss if share == 1 else loss * share).backward()
            logits[-1] = logits[-1].detach()
            losses.append(loss.detach() * len(their_labels))
        return torch.stack(losses).sum(), torch.cat(logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over images; 0 for a worker without images, which still takes part in the exchange."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing) if len(labels) else logits.sum()

    def _residual_scales(self, n: int) -> Tensor | None:
        """Return the factors of the residual branches for the next batch: `[n_layers, n]`; None: all are 1."""
        if self.stochastic_depth is None:
            return None
        first = self.step % self.steps_per_epoch * self.train.batch_size
        return self.stochastic_depth.scales(self.epoch, first, n)

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the network computes in `precision`."""
        return autocast(self.device, self.precision)

    def _set_learning_rate(self) -> None:
        factor = self.schedule((self.step + 0.5) / self.total_steps) * RATE_FACTOR**self.rewinds
        self.current_rates = [learning_rate * factor for learning_rate in self.learning_rates]
        for group, learning_rate in zip(self.optimizer.param_groups, self.current_rates, strict=True):
            set_learning_rate(group, learning_rate)

    def take_sums(self) -> list[float]:
        """Return the sums of loss, correct predictions, images and gradient norm since the last call.

        This waits for the device.
        """
        return self.running.take()

    def _interval_metrics(self) -> dict[str, float]:
        values = self.running.report(self.step)
        values["optim.lr"] = self.current_rates[0]
        groups = zip(self.optimizer.param_groups, self.current_rates, strict=True)
        values |= {f"optim.{group['name']}_lr": rate for group, rate in groups if "name" in group}
        return values | {"norm.weight": self._weight_norm()}

    def _weight_norm(self) -> float:
        with torch.no_grad():
            norm = nn.utils.get_total_norm([p.detach() for p in self.model.parameters()]).item()
        if not math.isfinite(norm):
            raise Diverged(f"a weight became {norm:g} (step {self.step})")
        return norm

    def _epoch_metrics(self, elapsed: float) -> dict[str, float]:
        """Return the means over the whole epoch, and the metrics of the validation split, if there is one."""
        values = self.running.end_epoch(elapsed)
        if self.valid is not None:
            model = self.evaluated_model
            self.workers.broadcast_buffers(model)
            measured = evaluate(model, self.valid, self.autocast(), self.metrics, self.workers.all_reduce_sum)
            values |= {f"{name}.valid": value for name, value in measured.items()}
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next update depends on, and the sums of metrics that are not reported yet."""
        return state_of(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()` of this version or an older one.

        Raises:
            UserError: the state does not fit this trainer.
        """
        restore(self, state)
