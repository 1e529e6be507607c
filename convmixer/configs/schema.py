"""The labml experiment: every key with its default, type, range and one line of help.

The keys of nested groups (`data.path`) are in `groups.py`, the options that parts can be in `options.py`.

A key's value comes from, the later one wins: the default here, the recipe, `--config`, the command line. A
`model_size` stands for its numbers; other keys given at the same place win over them.

To try your own part: subclass `Configs` in your script, register an `@option`, call `convmixer.main(MyConfigs)`.
"""

from collections import ChainMap
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
from convmixer.training.layer_statistics import LAYER_METRICS
from convmixer.training.metrics import METRICS
from convmixer.training.schedules import Schedule
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer

labml_fixes.keep_classes_apart()
labml_fixes.fix_dynamic_hyperparameters()

# The modes of torch.compile without its autotuning ones, which take minutes for a network this small.
COMPILE_MODES = ("default", "reduce-overhead")


class Configs(BaseConfigs):
    """The configs of a ConvMixer that learns to classify small images."""

    recipe: Annotated[str, Knob("named set of values; auto: base on a GPU, else small", choices=("auto", *RECIPES))] = (
        "auto"
    )
    name: Annotated[str | None, Knob("name of the experiment and its folder; none: data and recipe")] = None
    comment: Annotated[str | None, Knob("note that is kept with the run")] = None
    seed: Annotated[int, Knob("seed of all random numbers", low=0, high=2**31 - 1)] = 0
    seeds: Annotated[int, Knob("number of runs, with seed, seed + 1, ...", low=1, high=1000)] = 1
    device: Annotated[str, Knob("device that trains: auto, cpu, cuda, cuda:1 or mps")] = "auto"

    data: Annotated[DataConfigs, Knob("")] = "data"
    augment: Annotated[AugmentConfigs, Knob("")] = "augment"
    train_split: Annotated[Split, Knob("images that are trained on")] = "splits"
    valid_split: Annotated[Split, Knob("images held out for validation")] = "splits"

    model: Annotated[nn.Module, Knob("network")] = "conv_mixer"
    layer: Annotated[nn.Module, Knob("layer that the network repeats")] = "conv_mixer_layer"
    model_size: Annotated[
        str | None, Knob("size from the paper; sets the next four keys and activation", choices=tuple(SIZES))
    ] = None
    d_model: Annotated[int, Knob("number of channels (h in the paper)", low=1, high=65536)] = 128
    n_layers: Annotated[int, Knob("number of layers (d in the paper)", low=1, high=1024)] = 8
    kernel_size: Annotated[int, Knob("kernel size of the depth-wise convolution (k in the paper)", low=1, high=127)] = 5
    patch_size: Annotated[
        int, Knob("patch size in pixels (p in the paper); must divide the image size", low=1, high=512)
    ] = 4
    activation: Annotated[str, Knob("activation function after each convolution", choices=tuple(ACTIVATIONS))] = "GELU"
    batch_norm_momentum: Annotated[float | None, Knob("BatchNorm's momentum; none: 0.1", above=0, high=1)] = None
    stochastic_depth: Annotated[
        float, Knob("probability that an image skips the last layer's residual branch", low=0, high=0.95)
    ] = 0.0
    starts: Annotated[list[str], Knob("weight initialization, other than PyTorch's", choices=STARTS)] = []  # noqa: RUF012
    changes: Annotated[str | None, Knob("changes.jsonl of a run: what `set` changed in it is changed again")] = None
    pretrained: Annotated[str | None, Knob("weights to begin from: a run, FILE.safetensors or timm/NAME")] = None
    n_classes: Annotated[int, Knob("number of classes", low=2, high=10**6)] = "from_data"
    in_channels: Annotated[int, Knob("channels of the images", low=1, high=4)] = "from_data"

    epochs: Annotated[int, Knob("passes over the training images", low=1, high=10**6)] = 14
    steps: Annotated[int | None, Knob("number of updates, in place of epochs", low=1, high=10**9)] = None
    minutes: Annotated[float | None, Knob("training time in minutes, in place of epochs", above=0, high=10**6)] = None
    train_batch_size: Annotated[int, Knob("images in each update", low=1, high=10**6)] = 128
    micro_batch_size: Annotated[
        int | None, Knob("images at a time, if a batch is too large for the memory; must divide it", low=1, high=10**6)
    ] = None
    batch_per_worker: Annotated[bool, Knob("under torchrun: batch sizes are for each worker, not for all")] = False
    batch_norm_over: Annotated[
        str,
        Knob(
            "under torchrun: BatchNorm sees the whole batch or each worker's part", choices=("auto", "batch", "worker")
        ),
    ] = "auto"
    valid_batch_size: Annotated[int, Knob("images at a time in validation and test", low=1, high=10**6)] = 500
    optimizer: Annotated[OptimizerConfigs, Knob("")] = "optimizer"
    schedule: Annotated[Schedule, Knob("learning rate over the training time")] = "cosine"
    label_smoothing: Annotated[float, Knob("label-smoothing factor", low=0, high=0.999)] = 0.1
    gradient_clip: Annotated[float | None, Knob("maximum gradient norm; none: no clipping", above=0, high=10**9)] = 1.0
    ema: Annotated[
        float | None,
        Knob("decay of the moving average of weights, which is then tested; none: no average", above=0, high=0.99999),
    ] = None
    precision: Annotated[
        str,
        Knob("number format; auto: 16 bits on CUDA, else float32", choices=("auto", "float32", "bfloat16", "float16")),
    ] = "auto"
    kernels: Annotated[str, Knob("convolution kernels; auto: the fastest that work here", choices=CHOICES)] = "auto"
    compile: Annotated[bool, Knob("train with torch.compile")] = False
    compile_mode: Annotated[
        str, Knob("mode of torch.compile; reduce-overhead uses CUDA graphs", choices=COMPILE_MODES)
    ] = "default"
    on_nan: Annotated[
        str,
        Knob(
            "if the loss is NaN or infinite: stop, or go back and halve the learning rate", choices=("stop", "rewind")
        ),
    ] = "stop"
    checkpoint: Annotated[CheckpointConfigs, Knob("")] = "checkpoint"
    tracking: Annotated[TrackingConfigs, Knob("")] = "tracking"
    final_weights: Annotated[
        str, Knob("weights that are tested: of the best validation accuracy, or the last", choices=("best", "last"))
    ] = "best"
    metrics: Annotated[
        list[str],
        Knob(
            "more metrics: of the validation images, or each layer's norms and histograms at the ends of epochs",
            choices=ChainMap(dict.fromkeys(LAYER_METRICS), METRICS),
        ),
    ] = []  # noqa: RUF012
    trainer: Annotated[type[Trainer], Knob("class of the training loop")] = "trainer"

    def run(self) -> dict[str, Any]:
        """Train, then test once, within a started labml experiment. Return what `summary.json` holds."""
        with StopRequest() as stop:
            return train_and_test(build(self), stop)

    def override(self, given: Mapping[str, Any], recorded: Mapping[str, Any] | None = None) -> None:
        """Set the given values; the others come from the recipe and the defaults, or from `recorded`.

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
        self._parts = {name: keys[name].part(value) if name in keys else value for name, value in self._values.items()}
        for name in self._values.keys() - given.keys():
            if "." not in name:
                setattr(self, name, self._parts[name])
        super()._set_values({name: self._parts[name] for name in given})

    def values(self) -> dict[str, Any]:
        """Return every key's value: plain values and names of options, as on the command line."""
        return self._values

    def given(self) -> dict[str, Any]:
        """Return the values that were given, without those of the recipe and the defaults."""
        return self._given

    def build_model(self, values: Mapping[str, Any], name: str) -> nn.Module:
        """Build the network that was trained with these values.

        Args:
            values: every key's value.
            name: the name of the run or file, for errors.

        Raises:
            UserError: the network has parts of another script, which are not registered here.
        """
        keys = keys_of(type(self))
        for part in ("model", "layer"):
            if values[part] not in keys[part].options:
                raise UserError(
                    f"{name}: its {part}, {values[part]}, is defined in another script: run that script instead"
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
        """Take the values of `experiment.configs(Configs(), {...})`, which labml passes to this method."""
        if values or not hasattr(self, "_values"):
            self.override(values)

    def _fill(self, name: str, group: BaseConfigs) -> BaseConfigs:
        """Set all values of a nested group; labml then sets the given ones again."""
        for key, value in getattr(self, "_parts", {}).items():
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
