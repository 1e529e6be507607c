"""The labml experiment: every key with its default, type, range and one line of help.

The keys of nested groups (`data.path`) are in `groups.py`, the options that parts can be in `options.py`.

A key's value comes from, later wins: the default here, the recipe, `--config`, the command line. A `model_size` counts
as its numbers, given where it is named, before the keys that stand beside it.

To try a part of your own: subclass `Configs` in your script, register an `@option`, call `convmixer.main(MyConfigs)`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from labml.configs import BaseConfigs, hyperparams
from torch import nn

from convmixer.configs.building import build
from convmixer.configs.groups import AugmentConfigs, CheckpointConfigs, DataConfigs, OptimizerConfigs, TrackingConfigs
from convmixer.configs.keys import Knob, keys_of
from convmixer.configs.overrides import check
from convmixer.configs.recipes import RECIPES
from convmixer.configs.resolving import resolve
from convmixer.data.splits import Dataset, Split
from convmixer.errors import UserError
from convmixer.experiment.running import train_and_test
from convmixer.model.initialization import STARTS
from convmixer.model.kernels import CHOICES
from convmixer.model.layers import ACTIVATIONS
from convmixer.model.variants import SIZES
from convmixer.tracking import labml_fixes
from convmixer.training.metrics import METRICS
from convmixer.training.schedules import Schedule
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer

labml_fixes.keep_classes_apart()

# Of torch.compile; those that also measure which kernels are quicker take minutes for a network this small.
COMPILE_MODES = ("default", "reduce-overhead")


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
    model_size: Annotated[str | None, Knob("the paper's names", choices=tuple(SIZES))] = None
    d_model: Annotated[int, Knob("channels, h", low=1, high=65536)] = 128
    n_layers: Annotated[int, Knob("layers, d", low=1, high=1024)] = 8
    kernel_size: Annotated[int, Knob("of the depth-wise convolution, k", low=1, high=127)] = 5
    patch_size: Annotated[int, Knob("p, divides the image size", low=1, high=512)] = 4
    activation: Annotated[str, Knob("after convolutions", choices=tuple(ACTIVATIONS))] = "GELU"
    batch_norm_momentum: Annotated[float | None, Knob("none: as built, 0.1", above=0, high=1)] = None
    stochastic_depth: Annotated[float, Knob("chance to skip the last residual", low=0, high=0.95)] = 0.0
    starts: Annotated[list[str], Knob("how weights begin", choices=STARTS)] = []  # noqa: RUF012
    pretrained: Annotated[str | None, Knob("begin from FILE.safetensors or timm/NAME")] = None
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
    compile: Annotated[bool, Knob("train through torch.compile")] = False
    compile_mode: Annotated[str, Knob("reduce-overhead: CUDA graphs", choices=COMPILE_MODES)] = "default"
    on_nan: Annotated[
        str, Knob("a loss that is not finite: stop, or go back and halve the rate", choices=("stop", "rewind"))
    ] = "stop"
    checkpoint: Annotated[CheckpointConfigs, Knob("")] = "checkpoint"
    tracking: Annotated[TrackingConfigs, Knob("")] = "tracking"
    final_weights: Annotated[str, Knob("which are tested", choices=("best", "last"))] = "best"
    metrics: Annotated[list[str], Knob("of validation, beside loss and accuracy", choices=METRICS)] = []  # noqa: RUF012
    trainer: Annotated[type[Trainer], Knob("the training loop's class")] = "trainer"

    def run(self) -> dict[str, Any]:
        """Train, then test once, within a started labml experiment. Returns what `summary.json` holds."""
        with StopRequest() as stop:
            return train_and_test(build(self), stop)

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
            defaults = {name: key.default for name, key in keys.items()}
            self._values = defaults | check(recorded, keys, "recorded configs") | given
        for name in self._values.keys() - given.keys():
            if "." not in name:
                setattr(self, name, self._values[name])
        super()._set_values({name: self._values[name] for name in given})

    def values(self) -> dict[str, Any]:
        """Every key's value: plain values and names of options, as they can be given."""
        return self._values

    def given(self) -> dict[str, Any]:
        """The values that were given, not those of the recipe and the defaults."""
        return self._given

    def build_model(self, values: Mapping[str, Any], name: str) -> nn.Module:
        """Build the network that was trained with these values of keys.

        Args:
            name: of the run or file, for errors.

        Raises:
            UserError: it has parts of a script whose options are not registered here.
        """
        keys = keys_of(type(self))
        for part in ("model", "layer"):
            if values[part] not in keys[part].options:
                raise UserError(
                    f"{name}: its {part} is {values[part]}, of a script: use that script in place of this one"
                )
        self.override({}, {key: values[key] for key in keys if key in values})
        return self.model

    def build_dataset(self, values: Mapping[str, Any]) -> Dataset:
        """Load the data set that these values of keys name."""
        self.override({}, {key: values[key] for key in keys_of(type(self)) if key in values})
        return self.data.dataset

    def make_groups(self) -> None:
        """Make every nested group: labml writes the keys of a group down only once it is made."""
        for name in {name.partition(".")[0] for name in keys_of(type(self)) if "." in name}:
            getattr(self, name)

    def _set_values(self, values: Mapping[str, Any]) -> None:
        """labml hands over here what `experiment.configs(Configs(), {...})` was given."""
        if values or not hasattr(self, "_values"):
            self.override(values)

    def _fill(self, name: str, group: BaseConfigs) -> BaseConfigs:
        """Give a nested group all its values; labml puts those that were given on top."""
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
