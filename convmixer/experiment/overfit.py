"""Overfits one batch: the first check when a network does not learn."""

import math
from dataclasses import replace

from torch import nn

from convmixer.console import counted
from convmixer.data.splits import Split
from convmixer.errors import TrainingFault
from convmixer.experiment.experiment import Experiment

STEPS = 300


def overfit(experiment: Experiment) -> None:
    """Train on one batch, not augmented, until all its labels are predicted correctly.

    Raises:
        TrainingFault: some are still wrong after `STEPS` updates; the message says what was observed.
    """
    if experiment.initial_weights:
        print(f"begins  {experiment.initial_weights}")
    usual, split = experiment.trainer, experiment.train_split
    first = usual.train.order(epoch=0)[: usual.train.batch_size].cpu()
    n = len(first)
    batches = experiment.batches(Split(split.pick(first), split.labels[first]))
    batches.batch_size = n
    # Without regularization, which keeps a network from learning images by heart.
    plain = {"label_smoothing": 0.0, "stochastic_depth": None, "average": None}
    trainer = replace(usual, train=batches, valid=None, total_steps=STEPS, **plain)
    experiment.model.train()
    losses: list[float] = []
    for _ in range(STEPS):
        trainer.train_step(next(batches.epoch()))
        loss, correct, count, _ = trainer.take_sums()
        losses.append(loss / count)
        if not math.isfinite(loss):
            raise TrainingFault(
                f"{_where(losses)} the loss became {loss:g}: try a smaller "
                f"optimizer.learning_rate than {trainer.learning_rates[0]:g}"
            )
        if correct == count:
            print(
                f"ok: one batch of {counted(n, 'image')} is learned after {counted(trainer.step, 'update')} "
                f"(loss {losses[0]:.3f} to {losses[-1]:.3f})"
            )
            return
    raise TrainingFault(_diagnosis(experiment.model, losses, correct / count))


def _where(losses: list[float]) -> str:
    return f"after {len(losses)} updates"


def _diagnosis(model: nn.Module, losses: list[float], accuracy: float) -> str:
    still = [n for n, p in model.named_parameters() if p.requires_grad and _is_without_gradient(p)]
    if still:
        return f"no gradient reaches {', '.join(still[:3])}: check that forward() uses it"
    seen = f"{_where(losses)} {accuracy:.1%} of the batch is right, loss {losses[0]:.3f} to {losses[-1]:.3f}"
    if losses[-1] > 0.95 * losses[0]:
        return f"{seen}: the loss does not fall; try another optimizer.learning_rate or look at the layer"
    return f"{seen}: the loss falls too slowly; try a larger optimizer.learning_rate or a wider network"


def _is_without_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is None or not parameter.grad.any()
