"""Norms and histograms of layers: what they are of, and that training does not change by them."""

import math

import pytest
import torch
from torch import nn

from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.tracking.histograms import histogram
from convmixer.training.layer_statistics import BINS, LayerStatistics, layers_of
from convmixer.training.trainer import Trainer


@pytest.fixture
def trainer_of(tiny, here):
    """Builds a trainer on 240 images, 3 updates an epoch."""

    def build_it(**overrides) -> Trainer:
        configs = Configs()
        sizes = {"d_model": 8, "n_layers": 2, "patch_size": 2, "train_batch_size": 80, "epochs": 2}
        data = {"data.dataset": "images", "data.path": str(tiny), "data.validation": 0}
        configs.override({**sizes, **data, **overrides})
        return build(configs).trainer

    return build_it


class Watching:
    """An observer that measures after each epoch, if it is to."""

    def __init__(self, layers: LayerStatistics) -> None:
        self.layers = layers
        self.measured = []

    def epoch_ended(self, trainer, values) -> None:
        if self.layers.is_wanted:
            self.measured.append(self.layers.measure())

    def __getattr__(self, name):
        return lambda *_: None


def fit(trainer: Trainer, *metrics: str) -> list:
    watching = Watching(LayerStatistics(trainer, list(metrics), 500))
    trainer.fit(watching)
    return watching.measured


def test_they_are_of_the_weights_gradients_and_outputs(trainer_of) -> None:
    trainer = trainer_of(gradient_clip=0.01)
    gradients = {}

    def note(*_) -> None:
        gradients.update({name: p.grad.clone() for name, p in trainer.model.named_parameters()})

    trainer.optimizer.register_step_pre_hook(note)
    _, measured = fit(trainer, "norms", "histograms")
    weight = "conv_mixer_layers.1.point_wise_conv.weight"
    expected = trainer.model.get_parameter(weight).square().mean().sqrt().item()
    assert measured.norms[f"param.{weight}.l2"] == pytest.approx(expected)
    assert measured.norms[f"grad.{weight}.l2"] == pytest.approx(gradients[weight].square().mean().sqrt().item())
    layers = ("patch_emb", "conv_mixer_layers.0", "conv_mixer_layers.1", "classification")
    assert [n for n in measured.norms if n.startswith("activation")] == [f"activation.{name}.l2" for name in layers]

    images = trainer.train.normalise(trainer.train.raw(torch.linspace(0, 239, 64, dtype=torch.float64).long()))
    with torch.no_grad():
        logits = trainer.model.eval()(images)
    of_logits = histogram(measured.histograms["activation.classification"])
    assert of_logits.l2 == pytest.approx(logits.square().mean().sqrt().item(), rel=1e-4)
    assert (of_logits.low, of_logits.high) == pytest.approx((logits.min().item(), logits.max().item()), rel=1e-4)
    assert sum(of_logits.counts) == logits.numel() and len(of_logits.counts) == BINS


OPTIONS = [{}, {"kernels": "torch", "ema": 0.9, "optimizer.optimizer": "SGD", "stochastic_depth": 0.2}]


@pytest.mark.parametrize("options", OPTIONS, ids=["native kernels", "EMA, SGD, stochastic depth"])
def test_training_does_not_change_by_them(trainer_of, options) -> None:
    plain, measured = trainer_of(**options), trainer_of(**options)
    fit(plain)
    assert fit(measured, "norms", "histograms")
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, measured.model.state_dict()[name]), name
    assert torch.equal(plain.state_dict()["generator"], measured.state_dict()["generator"])
    assert all(not layer._forward_hooks for layer in layers_of(measured.model).values())


@pytest.mark.parametrize("metrics", [("norms",), ("histograms",)])
def test_only_what_was_asked_for_is_measured(trainer_of, metrics) -> None:
    measured = fit(trainer_of(epochs=1), *metrics)[-1]
    assert bool(measured.norms) == (metrics == ("norms",)) and bool(measured.histograms) == (metrics != ("norms",))


class Odd(nn.Module):
    """A network of one's own: an output that is no tensor, weights that are not finite or all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.split = nn.Identity()
        self.blocks = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
        self.infinite = nn.Parameter(torch.tensor([[1.0, math.inf], [math.nan, 3.0]]))
        self.nothing = nn.Parameter(torch.full((2, 2), math.nan))
        self.same = nn.Parameter(torch.zeros(2, 2))

    def forward(self, x):
        (x,) = self.split((x,))
        return self.blocks(x)


def test_a_network_of_ones_own(trainer_of) -> None:
    trainer = trainer_of()
    trainer.model = Odd()
    measured = LayerStatistics(trainer, ["norms", "histograms"], 500).measure()
    activations = [name for name in measured.histograms if name.startswith("activation.")]
    assert activations == ["activation.blocks.0", "activation.blocks.1"]
    finite = histogram(measured.histograms["param.infinite"])
    assert (finite.low, finite.high, finite.mean, sum(finite.counts)) == (1, 3, 2, 2)
    assert math.isnan(measured.norms["param.infinite.l2"]) and "param.nothing" not in measured.histograms
    same = histogram(measured.histograms["param.same"])
    assert sum(same.counts) == 4 and same.edges[0] < 0 < same.edges[-1]


def test_after_an_epoch_that_was_cut_short_there_are_no_stale_gradients(trainer_of) -> None:
    trainer = trainer_of()
    layers = LayerStatistics(trainer, ["norms"], 500)
    batch = next(trainer.train.epoch())
    trainer.model.train()
    for _ in range(4):  # the third is the last of an epoch; the fourth was not known to be the last one
        trainer.train_step(batch)
    assert not any(name.startswith("grad.") for name in layers.measure().norms)
