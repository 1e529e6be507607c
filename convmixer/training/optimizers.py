"""Builds optimizers, and groups a model's parameters for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from convmixer.errors import UserError
from convmixer.training.muon import BatchedMuon

MUON = "muon"  # the name of the group that Muon updates
FIRST_WEIGHTS = ("decayed", "not_decayed", "frozen")


def parameter_groups(
    model: nn.Module, weight_decay: float, decay_norms_and_biases: bool, first_weights: str = "decayed"
) -> list[dict]:
    """Group parameters: those that decay, and those that do not.

    Norms and biases, the parameters of one dimension, decay only with `decay_norms_and_biases`.

    Args:
        first_weights: what becomes of the filters of the first convolution, one of `FIRST_WEIGHTS`. Frozen, they
            need no gradient any more, and are in no group. Weight decay shrinks whitening filters.
    """
    first = next((module.weight for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first_weights == "frozen":
        first.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    exempt = [
        p
        for p in parameters
        if (p.ndim == 1 and not decay_norms_and_biases) or (p is first and first_weights == "not_decayed")
    ]
    ids = {id(p) for p in exempt}
    decayed = [p for p in parameters if id(p) not in ids]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def faster_norm_biases(groups: list[dict], model: nn.Module, learning_rate: float, factor: float) -> list[dict]:
    """Put BatchNorm's biases in separate groups, with `factor` times the learning rate.

    Their decay does not change. Source: KellerJordan/cifar10-airbench, airbench94.py, `bias_scaler` (64, for SGD).
    """
    if factor == 1:
        return groups
    biases = {id(module.bias) for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    slow = [group | {"params": [p for p in group["params"] if id(p) not in biases]} for group in groups]
    fast = [
        {
            "params": [p for p in group["params"] if id(p) in biases],
            "lr": learning_rate * factor,
            "weight_decay": group["weight_decay"] / factor,
        }
        for group in groups
    ]
    return [group for group in slow + fast if group["params"]]


def adamw(groups: list[dict], learning_rate: float, betas: list[float], eps: float) -> torch.optim.AdamW:
    """Build AdamW (arXiv 1711.05101), fused on CPU and CUDA; on CUDA it may be captured in a graph."""
    devices = {p.device.type for group in groups for p in group["params"]}
    return torch.optim.AdamW(
        groups,
        lr=learning_rate,
        betas=(betas[0], betas[1]),
        eps=eps,
        fused=devices <= {"cpu", "cuda"},
        capturable=devices == {"cuda"},
    )


def set_learning_rate(group: dict, learning_rate: float) -> None:
    """Set the learning rate of an optimizer's group; if it is a tensor, which a CUDA graph reads, in place."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(learning_rate)
    else:
        group["lr"] = learning_rate


def learning_rates_on(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Make the learning rates of all groups tensors on a device, so that a whole step can be a CUDA graph."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


def sgd(groups: list[dict], learning_rate: float, momentum: float) -> torch.optim.SGD:
    """Build SGD with Nesterov momentum (plain SGD if `momentum` is 0)."""
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon on the point-wise weights, AdamW on everything else, as one optimizer.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, by `torch.optim.Muon`;
    as there, AdamW updates the first and the last layer. Muon takes matrices, so it gets the weight `[out, in, 1, 1]`
    of a 1x1 convolution as a view `[out, in]`.

    Args:
        groups: all parameters, in groups for AdamW; the `matrices` are removed from them.
        matrices: the weights for Muon.
        learning_rate: AdamW's learning rate.
        muon_learning_rate: Muon's learning rate; its update is this times a matrix with singular values of about 1.
        muon_weight_decay: Muon's weight decay, which is decoupled.
        betas: AdamW's decay rates of its two averages.
        eps: AdamW's epsilon.

    Raises:
        UserError: there are no `matrices`.
    """

    def __init__(
        self,
        groups: list[dict],
        matrices: list[nn.Parameter],
        learning_rate: float,
        muon_learning_rate: float,
        muon_weight_decay: float,
        betas: list[float],
        eps: float,
    ) -> None:
        if not matrices:
            raise UserError(
                "overrides: optimizer.optimizer=Muon needs layers with 1x1 convolutions of 2 or more channels; "
                "optimizer.optimizer=AdamW needs none"
            )
        ids = {id(p) for p in matrices}
        rest = [group | {"params": [p for p in group["params"] if id(p) not in ids]} for group in groups]
        self.adamw = adamw([group for group in rest if group["params"]], learning_rate, betas, eps)
        self.muon = BatchedMuon(
            [nn.Parameter(_matrix(weight)) for weight in matrices],
            lr=muon_learning_rate,
            weight_decay=muon_weight_decay,
        )
        muon_group = {"params": matrices, "lr": muon_learning_rate, "name": MUON}  # whose rate is recorded, too
        super().__init__([*map(dict, self.adamw.param_groups), muon_group], {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Make one update, with the learning rates of this optimizer's groups."""
        for group, inner in zip(self.param_groups, self.adamw.param_groups + self.muon.param_groups, strict=True):
            inner["lr"] = group["lr"]
        views = self.muon.param_groups[0]["params"]
        for view, weight in zip(views, self.param_groups[-1]["params"], strict=True):
            view.data = _matrix(weight)
            view.grad = None if weight.grad is None else weight.grad.reshape(view.shape)
        self.adamw.step()
        self.muon.step()
        for view in views:
            view.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers."""
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of both optimizers from `state_dict()`."""
        self.adamw.load_state_dict(state_dict["adamw"])
        self.muon.load_state_dict(state_dict["muon"])

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a copy, with both optimizers, which torch's method leaves out."""
        return super().__getstate__() | {"adamw": self.adamw, "muon": self.muon}


def rate_keys(optimizer: torch.optim.Optimizer) -> list[str]:
    """Return the key that the learning rate of each of the optimizer's groups comes from."""
    names = (group.get("name") for group in optimizer.param_groups)
    return [f"optimizer.{'muon_' if name == MUON else ''}learning_rate" for name in names]


def decaying_groups(optimizer: torch.optim.Optimizer) -> list[dict]:
    """Return the groups whose weight decay the next update uses; loading a state replaces them by others."""
    if isinstance(optimizer, MuonAndAdamW):
        return optimizer.adamw.param_groups + optimizer.muon.param_groups
    return [group for group in optimizer.param_groups if "weight_decay" in group]


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    """Return a view `[out, in]` of a weight `[out, in, 1, 1]` or `[out, in]`, in the same memory."""
    return weight.detach().view(weight.shape[:2])


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of 1x1 convolutions and linear maps between the first and the last layer of a ConvMixer."""
    weights = [p for p in getattr(model, "conv_mixer_layers", model).parameters() if p.requires_grad]
    return [p for p in weights if p.ndim in (2, 4) and min(p.shape[:2]) > 1 and all(n == 1 for n in p.shape[2:])]
