"""The labml experiment: every key with its default, type, range and one line of help; the options that wire the parts.

The keys of nested groups (`data.path`) are in `config_groups.py`.

A key's value comes from, later wins: the default here, the recipe, `--config`, the command line. A `model_size` counts
as its numbers, given where it is named, before the keys that stand beside it.

To try a part of your own: subclass `Configs` in your script, register an `@option`, call `convmixer.main(MyConfigs)`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from labml.configs import BaseConfigs, hyperparams, option
from torch import nn

from convmixer import wiring
from convmixer.config_groups import AugmentConfigs, CheckpointConfigs, DataConfigs, OptimizerConfigs, TrackingConfigs
from convmixer.data import datasets
from convmixer.data.datasets import Split
from convmixer.errors import UserError
from convmixer.keys import Key, Knob, keys_of
from convmixer.model import layers
from convmixer.model.initialization import STARTS
from convmixer.model.kernels import CHOICES
from convmixer.overrides import check
from convmixer.recipes import RECIPES
from convmixer.tracking import labml_fixes
from convmixer.training import schedules
from convmixer.training.distributed.workers import ALONE
from convmixer.training.schedules import Schedule
from convmixer.training.trainer import Trainer

labml_fixes.keep_classes_apart()

# Of torch.compile; those that also measure which kernels are quicker take minutes for a network this small.
COMPILE_MODES = ("default", "reduce-overhead")

# `resume` may change where a run computes, never what; and what becomes of one that diverges.
CHANGEABLE_ON_RESUME = (
    "device",
    "kernels",
    "data.path",
    "data.resident",
    "valid_batch_size",
    "checkpoint.minutes",
    "on_nan",
    "tracking.app_url",
)


class Configs(BaseConfigs):
    """A ConvMixer that learns to classify small images."""

    recipe: Annotated[str, Knob("named set of values", choices=("auto", *RECIPES))] = "auto"
    name: Annotated[str | None, Knob("of the experiment's folder; none: data and recipe")] = None
    comment: Annotated[str | None, Knob("a note kept with the run")] = None
    seed: Annotated[int, Knob("all that is random follows from it", low=0, high=2**31 - 1)] = 0
    seeds: Annotated[int, Knob("train this many times, from seed on", low=1, high=1000)] = 1
    device: Annotated[str, Knob("auto, cpu, cuda, cuda:1 or mps")] = "auto"

    data: Annotated[DataConfigs, Knob("")] = "data"
    augment: Annotated[AugmentConfigs, Knob("")] = "augment"
    train_split: Annotated[Split, Knob("images trained on")] = "splits"
    valid_split: Annotated[Split, Knob("images held out")] = "splits"

    model: Annotated[nn.Module, Knob("the network")] = "conv_mixer"
    layer: Annotated[nn.Module, Knob("the layer that it repeats")] = "conv_mixer_layer"
    model_size: Annotated[str | None, Knob("the paper's names", choices=tuple(layers.SIZES))] = None
    d_model: Annotated[int, Knob("channels, h", low=1, high=65536)] = 128
    n_layers: Annotated[int, Knob("layers, d", low=1, high=1024)] = 8
    kernel_size: Annotated[int, Knob("of the depth-wise convolution, k", low=1, high=127)] = 5
    patch_size: Annotated[int, Knob("p, divides the image size", low=1, high=512)] = 4
    activation: Annotated[str, Knob("after convolutions", choices=tuple(layers.ACTIVATIONS))] = "GELU"
    batch_norm_momentum: Annotated[float | None, Knob("none: as built, 0.1", above=0, high=1)] = None
    stochastic_depth: Annotated[float, Knob("chance to skip the last residual", low=0, high=0.95)] = 0.0
    starts: Annotated[list[str], Knob("how weights begin", choices=tuple(STARTS))] = []  # noqa: RUF012
    pretrained: Annotated[str | None, Knob("begin from FILE.safetensors or timm/NAME")] = None
    begins_from: Any = None  # what was taken over of it, not a key
    n_classes: Annotated[int, Knob("logits", low=2, high=10**6)] = "from_data"
    in_channels: Annotated[int, Knob("colour channels", low=1, high=4)] = "from_data"

    epochs: Annotated[int, Knob("passes over the training images", low=1, high=10**6)] = 14
    steps: Annotated[int | None, Knob("updates, in place of epochs", low=1, high=10**9)] = None
    minutes: Annotated[float | None, Knob("in place of epochs", above=0, high=10**6)] = None
    train_batch_size: Annotated[int, Knob("images in an update", low=1, high=10**6)] = 128
    micro_batch_size: Annotated[int | None, Knob("images at once, divides it", low=1, high=10**6)] = None
    batch_per_worker: Annotated[bool, Knob("under torchrun: sizes are each worker's")] = False
    batch_norm_over: Annotated[
        str, Knob("under torchrun: whose images it sees", choices=("auto", "batch", "worker"))
    ] = "auto"
    workers: Any = ALONE  # set by the command, not a key
    valid_batch_size: Annotated[int, Knob("images at once", low=1, high=10**6)] = 500
    optimizer: Annotated[OptimizerConfigs, Knob("")] = "optimizer"
    schedule: Annotated[Schedule, Knob("learning rate over time")] = "cosine"
    label_smoothing: Annotated[float, Knob("share spread evenly", low=0, high=0.999)] = 0.1
    gradient_clip: Annotated[float | None, Knob("largest norm", above=0, high=10**9)] = 1.0
    ema: Annotated[float | None, Knob("test an average of weights: decay", above=0, high=0.99999)] = None
    precision: Annotated[str, Knob("auto: 16 bits on CUDA", choices=("auto", "float32", "bfloat16", "float16"))] = (
        "auto"
    )
    kernels: Annotated[str, Knob("auto: native, compiled here, where they fit", choices=CHOICES)] = "auto"
    kernels_in_use: Any = None  # a kernels.Path, not a key
    residence_in_use: Any = None  # a Residence, not a key
    compile: Annotated[bool, Knob("train through torch.compile")] = False
    compile_mode: Annotated[str, Knob("reduce-overhead: CUDA graphs", choices=COMPILE_MODES)] = "default"
    on_nan: Annotated[
        str, Knob("a loss that is not finite: stop, or go back and halve the rate", choices=("stop", "rewind"))
    ] = "stop"
    checkpoint: Annotated[CheckpointConfigs, Knob("")] = "checkpoint"
    tracking: Annotated[TrackingConfigs, Knob("")] = "tracking"
    final_weights: Annotated[str, Knob("which are tested", choices=("best", "last"))] = "best"
    trainer: Annotated[Trainer, Knob("the training loop")] = "trainer"

    def run(self) -> dict[str, Any]:
        """Train, then test once, within a started labml experiment. Returns what `summary.json` holds."""
        from convmixer.experiment.running import train

        return train(self)

    def override(self, given: Mapping[str, Any], recorded: Mapping[str, Any] | None = None) -> None:
        """Set values; those not given follow from the recipe and the defaults, or are as `recorded`.

        Raises:
            UserError: an unknown key or a wrong value.
        """
        keys = keys_of(type(self))
        given = self._given = check(given, keys, "overrides")
        if recorded is None:
            self._values = resolve(given, keys)
        else:
            self._values = check(recorded, keys, "recorded configs") | given
        for name in self._values.keys() - given.keys():
            if "." not in name:
                setattr(self, name, self._values[name])
        super()._set_values({name: self._values[name] for name in given})

    def _set_values(self, values: Mapping[str, Any]) -> None:
        """labml hands over here what `experiment.configs(Configs(), {...})` was given."""
        if values or not hasattr(self, "_values"):
            self.override(values)

    def _fill(self, name: str, group: BaseConfigs) -> BaseConfigs:
        """A nested group with all its values; labml puts those that were given on top."""
        for key, value in getattr(self, "_values", {}).items():
            head, _, tail = key.partition(".")
            if head == name and tail:
                setattr(group, tail, value)
        return group


hyperparams(
    Configs.model_size,
    Configs.d_model,
    Configs.n_layers,
    Configs.kernel_size,
    Configs.patch_size,
    Configs.activation,
    Configs.batch_norm_momentum,
    Configs.stochastic_depth,
    Configs.starts,
    Configs.epochs,
    Configs.train_batch_size,
    Configs.schedule,
    Configs.label_smoothing,
    Configs.gradient_clip,
    Configs.ema,
    OptimizerConfigs.optimizer,
    OptimizerConfigs.learning_rate,
    OptimizerConfigs.weight_decay,
    AugmentConfigs.ops,
    AugmentConfigs.translate,
)

LENGTHS = ("epochs", "steps", "minutes")


def resolve(given: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Every key's value: the defaults, then the recipe, then what was given.

    Raises:
        UserError: more than one of epochs, steps and minutes is given.
    """
    lengths = [name for name in LENGTHS if given.get(name) is not None]
    if len(lengths) > 1:
        raise UserError(f"overrides: {' and '.join(lengths)} exclude each other, give one")
    recipe = given.get("recipe", "auto")
    if recipe == "auto":
        device = given.get("device", "auto")
        recipe = "base" if device.startswith("cuda") or _has_gpu(device) else "small"
    values = {name: key.default for name, key in keys.items()}
    for layer in (check(RECIPES[recipe](), keys, f"recipe {recipe}"), given):
        size = layer.get("model_size")
        values |= (layers.SIZES[size] if size else {}) | layer
    if given.get("pretrained") and "starts" not in given:
        values["starts"] = []  # a recipe's: weights begin from those that are there instead
    return values | {"recipe": recipe}


def _has_gpu(device: str) -> bool:
    return device == "auto" and torch.cuda.is_available()


@option(Configs.data, "data")
def _data(c: Configs) -> BaseConfigs:
    return c._fill("data", DataConfigs())


@option(Configs.checkpoint, "checkpoint")
def _checkpoint(c: Configs) -> BaseConfigs:
    return c._fill("checkpoint", CheckpointConfigs())


@option(Configs.tracking, "tracking")
def _tracking(c: Configs) -> BaseConfigs:
    return c._fill("tracking", TrackingConfigs())


@option(Configs.augment, "augment")
def _augment(c: Configs) -> BaseConfigs:
    return c._fill("augment", AugmentConfigs())


@option([Configs.train_split, Configs.valid_split], "splits")
def _splits(c: Configs) -> tuple[Split, Split]:
    return datasets.split_validation(c.data.dataset.train, c.data.validation, c.seed)


@option(Configs.n_classes, "from_data")
def _n_classes(c: Configs) -> int:
    return len(c.data.dataset.classes)


@option(Configs.in_channels, "from_data")
def _in_channels(c: Configs) -> int:
    return c.data.dataset.train.images.shape[3]


@option(Configs.layer, "conv_mixer_layer")
def _layer(c: Configs) -> nn.Module:
    return layers.ConvMixerLayer(c.d_model, c.kernel_size, activation=c.activation)


@option(Configs.model, "conv_mixer")
def _model(c: Configs) -> nn.Module:
    torch.manual_seed(c.seed)
    patch_embeddings = layers.PatchEmbeddings(c.d_model, c.patch_size, c.in_channels, activation=c.activation)
    head = layers.ClassificationHead(c.d_model, c.n_classes)
    return layers.ConvMixer(c.layer, c.n_layers, patch_embeddings, head)


@option(Configs.optimizer, "optimizer")
def _optimizer(c: Configs) -> BaseConfigs:
    group = c._fill("optimizer", OptimizerConfigs())
    group.model = c.model
    return group


@option(Configs.schedule, "paper")
def _paper() -> Schedule:
    return schedules.paper


@option(Configs.schedule, "cosine")
def _cosine() -> Schedule:
    return schedules.cosine


@option(Configs.schedule, "trapezoid")
def _trapezoid() -> Schedule:
    return schedules.trapezoid


@option(Configs.schedule, "constant")
def _constant() -> Schedule:
    return schedules.constant


@option(Configs.trainer, "trainer")
def _trainer(c: Configs) -> Trainer:
    return wiring.trainer(c)
