"""Opens trained networks, from a run or from a file of `export` or `import`, and checks their content first."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from convmixer.console import composed, one_line
from convmixer.data.normalisation import floored
from convmixer.errors import UserError
from convmixer.files.untrusted import without_nulls, wrong_values
from convmixer.model.interchange import sizes_of
from convmixer.model.layers import ACTIVATIONS
from convmixer.model.variants import conv_mixer
from convmixer.tracking.runs import Run, run
from convmixer.trained.network import Trained
from convmixer.trained.weight_files import PICKLES, load_weights, usable
from convmixer.training import checkpoints


class ModelConfigs(Protocol):
    """The part of a `Configs` class that is needed to build a network."""

    def build_model(self, values: Mapping[str, Any], name: str) -> nn.Module:
        """Build the network that was trained with these values of keys; `name` is for error messages."""


def load(reference: str | Path, configs_class: type[ModelConfigs] | None = None) -> Trained:
    """Load a trained network, on the CPU in evaluation mode, with its classes and how it wants its images.

    >>> from convmixer import load
    >>> trained = load("weights/small-cifar10.safetensors")
    >>> trained.classes[:3], trained.image_shape
    (('airplane', 'automobile', 'bird'), (32, 32, 3))
    >>> import torch
    >>> images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    >>> trained.model(trained.normalise(images)).shape
    torch.Size([2, 10])

    Args:
        reference: a .safetensors file of `export` or `import`, or a run below the current folder: its uuid, the
            beginning of it, `last` or `best`.
        configs_class: where the network has parts of your own, the `Configs` that name them.

    Raises:
        UserError: there is no such file or run, or it is damaged.
    """
    if str(reference).endswith(".safetensors"):
        return from_file(Path(reference), configs_class)
    check_reference(reference)
    return from_run(run(str(reference)), configs_class)


def check_reference(reference: str | Path) -> None:
    """Check that a reference is not a file of another kind.

    Raises:
        UserError: it is; the message says what is taken.
    """
    ending = Path(reference).suffix.lower()
    if ending in NOT_TAKEN:
        raise UserError(
            f"{reference}: expected a run (its uuid, the beginning of it, last or best) or a .safetensors file of "
            f"`export` or `import`; {NOT_TAKEN[ending]}"
        )


NOT_TAKEN = {
    ".onnx": "an .onnx file is for onnxruntime and others, as its model card shows",
    ".pt2": "a .pt2 file is for torch.export.load, as its model card shows",
    **dict.fromkeys((*PICKLES, ".ckpt"), "`import` converts weights of other projects"),
}


def from_run(source: Run, configs_class: type[ModelConfigs] | None = None) -> Trained:
    """Load the weights that a run was tested with; if it has not ended, the best so far.

    Raises:
        UserError: there is no good checkpoint, or its content does not fit the run's configs.
    """
    weights, data = weights_of(source)
    with _misfits(source):
        return _trained(source.uuid[:8], weights, data, source.at_end, source.summary, source.given, configs_class)


def weights_of(source: Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights that a run was tested with, or the best so far, and what describes its data.

    Raises:
        UserError: there is no good checkpoint, or its content is of the wrong type.
    """
    tested = source.summary.get("weights")
    names = [tested] if tested in ("best", "last") else ["best", "last"]
    path = next((p for p in map(source.checkpoint, names) if p.exists()), source.checkpoint(names[-1]))
    if not path.exists() and source.summary:
        raise UserError(f"{path}: can't be read: it is not there any more; did `runs prune --all` remove it?")
    state = checkpoints.load(path)
    with _misfits(source):
        weights = {key: usable(tensor, f"{path}: {ascii(key)[:60]}") for key, tensor in state["model"].items()}
        check_data(state["data"], source.uuid[:8])
        return weights, state["data"]


def _misfits(source: Run) -> AbstractContextManager[None]:
    return _misfits_named(f"{source.checkpoint('last').parent}: a checkpoint and the run's configs")


def from_file(path: Path, configs_class: type[ModelConfigs] | None = None) -> Trained:
    """Load the weights of a file that `export` or `import` wrote.

    Raises:
        UserError: the file can't be read or is damaged, or its content does not fit together.
    """
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
        raise UserError(f"{what} are not those of one network: {one_line(error, 150)}") from None


def _trained(
    name: str,
    weights: Mapping[str, Tensor],
    data: dict[str, Any],
    configs: dict[str, Any],
    summary: dict[str, Any],
    given: dict[str, Any] | None,
    configs_class: type[ModelConfigs] | None,
) -> Trained:
    check_data(data, name)
    _check_summary(summary, name)
    summary = without_nulls(summary)
    sizes = {"n_classes": len(data["classes"]), "in_channels": data["image_shape"][2]} | {
        key: configs[key] for key in ("n_classes", "in_channels") if isinstance(configs[key], int)
    }
    if all(configs[part] == option for part, option in BUILT_IN.items()):
        _check_sizes(weights, configs | sizes, name)
    model = (
        configs_class().build_model(configs | sizes, name) if configs_class else _built_in_model(name, configs | sizes)
    )
    model.load_state_dict(weights)
    return Trained(
        name,
        model.eval(),
        class_names(data, sizes["n_classes"]),
        tuple(data["image_shape"]),
        tuple(data["mean"]),
        floored(data["std"]),
        configs,
        summary,
        data,
        given,
    )


def class_names(data: dict[str, Any], n_classes: int) -> tuple[str, ...]:
    """Return a name for each output of a network: the classes of its data, then those that none of them uses."""
    return _distinct((*data["classes"], *(f"unused {n}" for n in range(len(data["classes"]), n_classes))))


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names by which each class is told from the others: one that several have gets its label."""
    names = tuple(map(composed, names))  # as image trees have them; those of older versions are as on a Mac's disk
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({label})" for label, name in enumerate(names))


def _check_sizes(weights: Mapping[str, Tensor], configs: Mapping[str, Any], name: str) -> None:
    """Check the sizes in the configs against the weights, before a huge network fills all memory."""
    for key, size in sizes_of(weights, name).items():
        if configs[key] != size:
            raise UserError(f"{name}: {key} is {str(configs[key])[:40]} in its configs, {size} in its weights")
    if configs["activation"] not in ACTIVATIONS:
        raise UserError(
            f"{name}: its activation is {str(configs['activation'])[:40]}, expected {', '.join(ACTIVATIONS)}"
        )


def check_data(data: Any, name: str) -> None:
    """Check the recorded description of the training images.

    Raises:
        UserError: a value has the wrong type or is out of range.
    """
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
        raise UserError(f"{name}: classes, image_shape, mean or std have wrong types or are out of range")


# The entries of a summary that model cards and tables use, with their types.
SUMMARY_TYPES = {
    **dict.fromkeys(("name", "data", "recipe", "weights", "device", "precision"), str),
    **dict.fromkeys(("accuracy.test", "accuracy.valid", "epochs", "seconds"), int | float),
    **dict.fromkeys(("test_images", "parameters", "steps", "images"), int),
    **dict.fromkeys(("versions", "configs"), dict),
}


def _check_summary(summary: Any, name: str) -> None:
    wrong = wrong_values(summary, SUMMARY_TYPES)
    if wrong:
        raise UserError(f"{name}: {wrong[0]} in its summary has the wrong type")


LARGEST_SIDE = 4096  # pixels
BUILT_IN = {"model": "conv_mixer", "layer": "conv_mixer_layer"}
NUMBERS = ("d_model", "n_layers", "kernel_size", "patch_size", "n_classes", "in_channels", "activation")


def _built_in_model(name: str, configs: Mapping[str, Any]) -> nn.Module:
    """Build the network without labml, for notebooks and libraries."""
    for part, option in BUILT_IN.items():
        if configs[part] != option:
            raise UserError(f"{name}: its {part}, {configs[part]}, is defined in a script: pass that script's Configs")
    return conv_mixer(**{key: configs[key] for key in NUMBERS})
