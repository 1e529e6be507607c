"""A trained network, with what is needed to use it: of a run, or of a .safetensors file of `export` or `import`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from convmixer.errors import UserError
from convmixer.model.interchange import sizes_of
from convmixer.model.layers import ACTIVATIONS, conv_mixer
from convmixer.tracking.runs import Run, run
from convmixer.trained.weight_files import load_weights, usable
from convmixer.training import checkpoints

if TYPE_CHECKING:
    from convmixer.configs import Configs


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, on the CPU.

    Attributes:
        name: the run's or the file's, as results on it are called.
        classes: the classes' names, by label; outputs beyond those of the data (`n_classes` was larger) are `unused N`.
        image_shape: height, width and channels of the images that it was trained on.
        mean: per channel over those images, on a scale of 0 to 1.
        std: likewise.
        configs: every key's value in its training; of imported weights, their sizes, and defaults for the rest.
        summary: how its run ended; empty where it has not, and for imported weights.
        data: what was recorded of the images that it was trained on: `name`, `train_images`, and the above.
        given: the keys that were given for its training; None where a file does not tell.
        imported: what imported weights were brought in from; None for those trained here.
    """

    name: str
    model: nn.Module
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    configs: dict[str, Any]
    summary: dict[str, Any]
    data: dict[str, Any]
    given: dict[str, Any] | None
    imported: str | None = None

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 `[batch, height, width, channels]` to the model's input: float32 `[batch, channels, height, width]`."""
        mean, std = (torch.tensor(values, device=images.device) for values in (self.mean, self.std))
        # The same arithmetic as `Batches.normalise`, to the bit.
        return ((images.float() - mean * 255) * (1 / (std.clamp(min=1e-6) * 255))).permute(0, 3, 1, 2)


def open_trained(reference: str, configs_class: "type[Configs] | None" = None) -> Trained:
    """A run by uuid, its beginning, `last` or `best`; or a file.

    Args:
        configs_class: where the network has parts of your own, the `Configs` that name them.

    Raises:
        UserError: no such run or file, it is damaged, or its network needs a `configs_class` that was not given.
    """
    if reference.endswith(".safetensors"):
        return from_file(Path(reference), configs_class)
    return from_run(run(reference), configs_class)


def from_run(source: Run, configs_class: "type[Configs] | None" = None) -> Trained:
    """The weights that the run was tested with; of one that has not ended, the best so far."""
    summary = source.summary
    tested = summary.get("weights")
    names = [tested] if tested in ("best", "last") else ["best", "last"]
    name = next((n for n in names if source.checkpoint(n).exists()), names[-1])
    path = source.checkpoint(name)
    state = checkpoints.load(path)
    with _misfits_named(f"{path}: the checkpoint and the run's configs"):
        weights = {key: usable(tensor, f"{path}: {ascii(key)[:60]}") for key, tensor in state["model"].items()}
        return _trained(source.uuid[:8], weights, state["data"], source.recorded, summary, source.given, configs_class)


def from_file(path: Path, configs_class: "type[Configs] | None" = None) -> Trained:
    """The weights of a file that `export` or `import` wrote."""
    weights, metadata = load_weights(path)
    with _misfits_named(f"{path}: tensors and metadata"):
        data, summary = metadata["data"], metadata["summary"]
        configs, given, imported = summary["configs"], metadata.get("given"), metadata.get("imported")
        if not isinstance(given, dict | None) or not isinstance(imported, str | None):
            raise ValueError("given or imported is of another type")
        trained = _trained(path.name, weights, data, configs, summary, given, configs_class)
    return replace(trained, imported=imported, summary={}) if imported else trained


@contextmanager
def _misfits_named(what: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"{what} are not those of one network: {reason or type(error).__name__}") from None


def _trained(
    name: str,
    weights: Mapping[str, Tensor],
    data: dict[str, Any],
    configs: dict[str, Any],
    summary: dict[str, Any],
    given: dict[str, Any] | None,
    configs_class: "type[Configs] | None",
) -> Trained:
    check_data(data, name)
    _check_summary(summary, name)
    sizes = {"n_classes": len(data["classes"]), "in_channels": data["image_shape"][2]} | {
        key: configs[key] for key in ("n_classes", "in_channels") if isinstance(configs[key], int)
    }
    if all(configs[part] == option for part, option in BUILT_IN.items()):
        _check_sizes(weights, configs | sizes, name)
    if configs_class:
        model = _own_model(name, configs_class, configs | sizes)
    else:
        model = _built_in_model(name, configs | sizes)
    model.load_state_dict(weights)
    return Trained(
        name,
        model.eval(),
        (*data["classes"], *(f"unused {label}" for label in range(len(data["classes"]), sizes["n_classes"]))),
        tuple(data["image_shape"]),
        tuple(data["mean"]),
        tuple(data["std"]),
        configs,
        summary,
        data,
        given,
    )


def _check_sizes(weights: Mapping[str, Tensor], configs: Mapping[str, Any], name: str) -> None:
    """Before a network is built: anyone can write down sizes that fill all memory."""
    for key, size in sizes_of(weights, name).items():
        if configs[key] != size:
            raise UserError(f"{name}: {key} is {str(configs[key])[:40]} in its configs, {size} in its weights")
    if configs["activation"] not in ACTIVATIONS:
        raise UserError(
            f"{name}: its activation is {str(configs['activation'])[:40]}, expected {', '.join(ACTIVATIONS)}"
        )


def check_data(data: Any, name: str) -> None:
    """Raise UserError where what was recorded of the images of a training is nothing that can be."""
    classes, shape, mean, std = (data[key] for key in ("classes", "image_shape", "mean", "std"))
    is_right = (
        isinstance(classes, list)
        and all(isinstance(text, str) for text in classes)
        and isinstance(data.get("name", ""), str)
        and isinstance(data.get("train_images", 0), int)
        and [type(side) for side in shape] == [int] * 3
        and all(0 < side <= LARGEST_SIDE for side in shape)
        and len(mean) == len(std) == shape[2]
        and all(isinstance(x, int | float) and 0 <= x <= 1 for x in (*mean, *std))
    )
    if not is_right:
        raise UserError(f"{name}: classes, image_shape, mean or std are not those of images")


# What a model card and the tables take from a summary, with how it ended.
SUMMARY_TYPES = {
    **dict.fromkeys(("name", "data", "recipe", "weights", "device", "precision"), str),
    **dict.fromkeys(("accuracy.test", "accuracy.valid", "epochs", "seconds"), int | float),
    **dict.fromkeys(("test_images", "parameters", "steps", "images"), int),
    **dict.fromkeys(("versions", "configs"), dict),
}


def _check_summary(summary: Any, name: str) -> None:
    if not isinstance(summary, dict):
        raise UserError(f"{name}: its summary is no mapping")
    for key, kind in SUMMARY_TYPES.items():
        value = summary.get(key, kind() if isinstance(kind, type) else 0)
        if not isinstance(value, kind) or (isinstance(value, int | float) and abs(value) > MOST_NUMBER):
            raise UserError(f"{name}: {key} of its summary is {str(value)[:40]!a}")


def _own_model(name: str, configs_class: "type[Configs]", configs: Mapping[str, Any]) -> nn.Module:
    from convmixer.keys import keys_of

    keys = keys_of(configs_class)
    for part in BUILT_IN:
        if configs[part] not in keys[part].options:
            raise UserError(f"{name}: its {part} is {configs[part]}, of a script: use that script in place of this one")
    conf = configs_class()
    conf.override({}, {key: configs[key] for key in keys if key in configs})
    return conf.model


LARGEST_SIDE = 4096  # pixels
MOST_NUMBER = 1e30
BUILT_IN = {"model": "conv_mixer", "layer": "conv_mixer_layer"}
NUMBERS = ("d_model", "n_layers", "kernel_size", "patch_size", "n_classes", "in_channels", "activation")


def _built_in_model(name: str, configs: Mapping[str, Any]) -> nn.Module:
    """Without labml, which notebooks and libraries do better without."""
    for part, option in BUILT_IN.items():
        if configs[part] != option:
            raise UserError(f"{name}: its {part} is {configs[part]}, of a script: give that script's Configs")
    return conv_mixer(**{key: configs[key] for key in NUMBERS})
