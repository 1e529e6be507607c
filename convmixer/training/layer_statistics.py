"""Measures each layer's weights, gradients and activations at the end of an epoch: `metrics=[norms,histograms]`.

Weights are the parameters with two or more dimensions: those of convolutions and linear maps, not biases and BatchNorm.
Gradients are those of the epoch's last update, over the whole batch, after clipping. Activations are what each layer
makes of `IMAGES` fixed training images, in a forward pass of its own in evaluation mode: hooks in the training step
would keep the fused kernels and torch.compile from doing their work. Training does not change by any of it.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convmixer.training.trainer import Trainer

NORMS, HISTOGRAMS = "norms", "histograms"
LAYER_METRICS = (NORMS, HISTOGRAMS)  # choices of the key `metrics`
IMAGES = 64  # fixed training images, evenly spaced over the split; fewer if valid_batch_size is smaller
BINS = 64
MOST_VALUES = 2**22  # of a tensor are looked at for a histogram, evenly spaced


class Measured(NamedTuple):
    """The statistics of tensors, by labml's names: `param.NAME`, `grad.NAME`, `activation.NAME`.

    Attributes:
        norms: `NAME.l2`, the root of the mean square, as in labml's `store_l1_l2`.
        histograms: smallest and largest value, mean, `l2`, and the counts of `BINS` equal bins between the first two.
    """

    norms: dict[str, float]
    histograms: dict[str, list[float]]

    def add(self, other: "Measured") -> None:
        """Take in the statistics of other tensors."""
        self.norms.update(other.norms)
        self.histograms.update(other.histograms)


class LayerStatistics:
    """Measures the network that `trainer` trains.

    Args:
        metrics: the value of the key `metrics`; of others than `LAYER_METRICS` nothing is measured here.
    """

    def __init__(self, trainer: Trainer, metrics: list[str], images_at_once: int) -> None:
        self.trainer = trainer
        self.norms, self.histograms = NORMS in metrics, HISTOGRAMS in metrics
        self.images_at_once = images_at_once
        self._gradients: tuple[int, Measured] | None = None  # the update that they are of
        if self.is_wanted:  # before the update: some optimizers change gradients in place
            trainer.optimizer.register_step_pre_hook(self._note_gradients)

    @property
    def is_wanted(self) -> bool:
        return self.norms or self.histograms

    def measure(self) -> Measured:
        """Measure after the last update of an epoch."""
        measured = self._of("param", dict(_weights(self.trainer.model)))
        if self._gradients and self._gradients[0] == self.trainer.step:  # not where `set stop=true` ended the epoch
            measured.add(self._gradients[1])
        measured.add(self._activations())
        return measured

    def _note_gradients(self, *_: Any) -> None:
        update = self.trainer.step + 1
        if update % self.trainer.steps_per_epoch == 0 or update == self.trainer.total_steps:
            gradients = {name: p.grad for name, p in _weights(self.trainer.model) if p.grad is not None}
            self._gradients = update, self._of("grad", gradients)

    @torch.inference_mode()
    def _activations(self) -> Measured:
        """Measure the outputs of all layers for the fixed images, each as it comes: all together need much memory."""
        trainer, train = self.trainer, self.trainer.train
        n = min(IMAGES, self.images_at_once, train.n_images)
        index = torch.linspace(0, train.n_images - 1, n, dtype=torch.float64).long()
        images = train.normalise(train.raw(index))
        found = Measured({}, {})

        def measure(name: str, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                found.add(self._of("activation", {name: output}))

        devices = [trainer.device] if trainer.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices),
            _evaluating(trainer.model),
            _seeing_outputs(trainer.model, measure),
            trainer.autocast(),
        ):
            trainer.model(images)
        return found

    @torch.no_grad()
    def _of(self, kind: str, tensors: Mapping[str, Tensor]) -> Measured:
        if not tensors:
            return Measured({}, {})
        flat = {f"{kind}.{name}": tensor.detach().float().flatten() for name, tensor in tensors.items()}
        l2 = torch.stack([torch.linalg.vector_norm(x) / max(1, x.numel()) ** 0.5 for x in flat.values()]).tolist()
        norms = dict(zip(flat, map(_rounded, l2), strict=True))
        histograms = {name: _histogram(x, norms[name]) for name, x in flat.items()} if self.histograms else {}
        return Measured(
            {f"{name}.l2": value for name, value in norms.items()} if self.norms else {},
            {name: histogram for name, histogram in histograms.items() if histogram},
        )


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return a network's parts by name: its direct children, and instead of a list of layers each of these."""
    found: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        is_list = isinstance(child, nn.ModuleList | nn.Sequential)
        found |= {f"{name}.{number}": layer for number, layer in child.named_children()} if is_list else {name: child}
    return found


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.ndim > 1)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _seeing_outputs(model: nn.Module, see: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `see` with the name and the output of each layer that computes something within."""

    def hook(name: str) -> Callable[..., None]:
        return lambda layer, given, output: see(name, output)

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers_of(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _histogram(values: Tensor, l2: float) -> list[float]:
    """Return the histogram of the finite `values` `[n]`; an empty one if there are none."""
    values = values[:: -(-len(values) // MOST_VALUES) or 1]
    lowest, highest, mean = torch.stack([*values.aminmax(), values.mean()]).tolist() if len(values) else [math.nan] * 3
    if not math.isfinite(lowest + highest):
        finite = values[values.isfinite()]
        if not len(finite):
            return []
        return _histogram(finite, _rounded((finite.double().square().mean() ** 0.5).item()))
    counts = torch.histc(values, BINS, lowest, highest).tolist()
    return [_rounded(lowest), _rounded(highest), _rounded(mean), l2, *map(int, counts)]


def _rounded(value: float) -> float:
    """Round to 7 significant digits, about those of a float32, so that the log stays short."""
    return float(f"{value:.7g}")
