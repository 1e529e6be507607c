"""Optimizers and how a model's parameters are grouped for them."""

import torch
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float, decay_norms_and_biases: bool) -> list[dict]:
    """Two groups: weights that decay, and (unless `decay_norms_and_biases`) norms and biases that don't.

    Norms and biases are the parameters of one dimension.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1 or decay_norms_and_biases]
    exempt = [p for p in parameters if p.ndim == 1 and not decay_norms_and_biases]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(groups: list[dict], learning_rate: float, betas: list[float], eps: float) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101), fused on CPU and CUDA."""
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(betas[0], betas[1]), eps=eps, fused=fused)


def sgd(groups: list[dict], learning_rate: float, momentum: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum (plain SGD when `momentum` is 0)."""
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0)
