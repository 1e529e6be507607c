"""A trained network, with what is needed to use it: of a run, or of a .safetensors file that `export` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from convmixer.errors import UserError
from convmixer.model.interchange import load_weights
from convmixer.model.layers import conv_mixer
from convmixer.tracking.runs import Run, run
from convmixer.training import checkpoints

if TYPE_CHECKING:
    from convmixer.configs import Configs


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, on the CPU.

    Attributes:
        name: the run's or the file's, as results on it are called.
        classes: the classes' names, by label.
        image_shape: height, width and channels of the images that it was trained on.
        mean: per channel over those images, on a scale of 0 to 1.
        std: likewise.
        configs: every key's value in its training.
        summary: how its run ended; empty where it has not.
    """

    name: str
    model: nn.Module
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    configs: dict[str, Any]
    summary: dict[str, Any]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 `[batch, height, width, channels]` to the model's input: float32 `[batch, channels, height, width]`."""
        mean, std = (torch.tensor(values, device=images.device) for values in (self.mean, self.std))
        return ((images.float() / 255 - mean) / std.clamp(min=1e-6)).permute(0, 3, 1, 2)


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
    names = [summary["weights"]] if summary else ["best", "last"]
    name = next((n for n in names if source.checkpoint(n).exists()), names[-1])
    state = checkpoints.load(source.checkpoint(name))
    return _trained(source.uuid[:8], state["model"], state["data"], source.recorded, summary, configs_class)


def from_file(path: Path, configs_class: "type[Configs] | None" = None) -> Trained:
    """The weights of a file that `export` wrote."""
    weights, metadata = load_weights(path)
    summary = metadata["summary"]
    return _trained(path.name, weights, metadata["data"], summary["configs"], summary, configs_class)


def _trained(
    name: str,
    weights: Mapping[str, Tensor],
    data: Mapping[str, Any],
    configs: dict[str, Any],
    summary: dict[str, Any],
    configs_class: "type[Configs] | None",
) -> Trained:
    sizes = {"n_classes": len(data["classes"]), "in_channels": data["image_shape"][2]} | {
        key: configs[key] for key in ("n_classes", "in_channels") if isinstance(configs[key], int)
    }
    model = _own_model(configs_class, configs | sizes) if configs_class else _built_in_model(name, configs | sizes)
    model.load_state_dict(weights)
    return Trained(
        name,
        model.eval(),
        tuple(data["classes"]),
        tuple(data["image_shape"]),
        tuple(data["mean"]),
        tuple(data["std"]),
        configs,
        summary,
    )


def _own_model(configs_class: "type[Configs]", configs: Mapping[str, Any]) -> nn.Module:
    from convmixer.keys import keys_of

    conf = configs_class()
    conf.override({}, {name: configs[name] for name in keys_of(configs_class) if name in configs})
    return conf.model


BUILT_IN = {"model": "conv_mixer", "layer": "conv_mixer_layer"}
NUMBERS = ("d_model", "n_layers", "kernel_size", "patch_size", "n_classes", "in_channels", "activation")


def _built_in_model(name: str, configs: Mapping[str, Any]) -> nn.Module:
    """Without labml, which notebooks and libraries do better without."""
    for part, option in BUILT_IN.items():
        if configs[part] != option:
            raise UserError(f"{name}: its {part} is {configs[part]}, of a script: give that script's Configs")
    return conv_mixer(**{key: configs[key] for key in NUMBERS})
