"""Overfits one batch: the first thing to try when a network does not learn."""

import math

import torch
from torch import nn

from convmixer.configs import Configs
from convmixer.consistency import check_consistency
from convmixer.data.datasets import Split
from convmixer.errors import TrainingFault
from convmixer.trained.initial_weights import begin_from_pretrained
from convmixer.training.hardware import keep_freed_memory
from convmixer.training.trainer import Trainer
from convmixer.wiring import plain_batches

STEPS = 300


def overfit(conf: Configs) -> None:
    """Train on one batch, not augmented, until all its labels are learned.

    Raises:
        TrainingFault: they are not after `STEPS` updates; the message says what was seen.
    """
    keep_freed_memory()
    check_consistency(conf)
    if conf.pretrained:
        print(f"begins  {begin_from_pretrained(conf)}")
    usual = conf.trainer
    first = usual.train.order(epoch=0)[: conf.train_batch_size].cpu()
    n = len(first)
    one = Split(conf.train_split.pick(first), conf.train_split.labels[first])
    batches = plain_batches(conf, conf.data.dataset, one, usual.device)
    batches.batch_size = n
    trainer = Trainer(
        conf.model,
        conf.optimizer,
        conf.schedule,
        batches,
        None,
        total_steps=STEPS,
        gradient_clip=usual.gradient_clip,
        precision=usual.precision,
    )
    conf.model.train()
    losses: list[float] = []
    for _ in range(STEPS):
        trainer.train_step(next(batches.epoch()))
        loss, hits, count, _ = trainer.take_sums()
        losses.append(loss / count)
        if not math.isfinite(loss):
            raise TrainingFault(
                f"{_where(losses)} the loss became {loss:g}: try a smaller "
                f"optimizer.learning_rate than {conf.optimizer.defaults['lr']:g}"
            )
        if hits == count:
            print(
                f"ok: one batch of {n} images is learned after {trainer.step} updates "
                f"(loss {losses[0]:.3f} to {losses[-1]:.3f})"
            )
            return
    raise TrainingFault(_diagnosis(conf.model, losses, hits / count))


def _where(losses: list[float]) -> str:
    return f"after {len(losses)} updates"


def _diagnosis(model: nn.Module, losses: list[float], accuracy: float) -> str:
    still = [n for n, p in model.named_parameters() if p.requires_grad and _is_without_gradient(p)]
    if still:
        return f"no gradient reaches {', '.join(still[:3])}: is it used in forward()?"
    seen = f"{_where(losses)} {accuracy:.1%} of the batch is right, loss {losses[0]:.3f} to {losses[-1]:.3f}"
    if losses[-1] > 0.95 * losses[0]:
        return f"{seen}: it does not fall; try another optimizer.learning_rate or look at the layer"
    return f"{seen}: it falls too slowly; try a larger optimizer.learning_rate or a wider network"


def _is_without_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is None or not torch.any(parameter.grad)
