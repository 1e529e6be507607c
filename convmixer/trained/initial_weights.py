"""Loads weights to begin from: `pretrained=FILE.safetensors`, `pretrained=RUN`, `pretrained=timm/convmixer_768_32`.

A tensor is loaded if the network has one of that name and shape. The head is loaded only if both networks have the same
classes. Sizes must agree: they are not taken from the file, so a run's configs always say what was trained.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convmixer.console import one_line, shortened
from convmixer.errors import UserError
from convmixer.model.interchange import Weights, from_layout, sizes_of
from convmixer.tracking.runs import Run, run
from convmixer.trained.opening import class_names, from_file, weights_of

log = logging.getLogger("convmixer")

HEAD = "classification."
SIZES = ("d_model", "n_layers", "kernel_size", "patch_size", "in_channels", "activation")


@dataclass(frozen=True)
class Start:
    """Weights to begin training from.

    Attributes:
        name: the reference as given.
        weights: the tensors, under our names.
        classes: the classes' names, or only their number if the names are not known.
    """

    name: str
    weights: Weights
    classes: tuple[str, ...] | int


def load_initial_weights(reference: str, model: nn.Module, values: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Load the weights that `reference` names into `model`, which is about to be trained.

    Args:
        reference: FILE.safetensors, timm/NAME or a run.
        model: the network, changed in place.
        values: the values of keys that `model` was built from.
        classes: the names of the classes that it will be trained on.

    Returns:
        One line that says which tensors were loaded.

    Raises:
        UserError: the weights are not available, or do not fit.
    """
    start = _reader(reference)(reference, values)
    n_classes, there = values["n_classes"], len(classes)
    same_head = start.classes in (tuple(classes), there) and n_classes == there
    weights = {name: tensor for name, tensor in start.weights.items() if same_head or not name.startswith(HEAD)}
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise UserError(f"pretrained={start.name}: no tensor in it fits this network")
    model.load_state_dict(fitting, strict=False)
    return _report(start, fitting, own, None if same_head else n_classes)


def names_a_run(reference: str) -> bool:
    """Return True if `reference` is neither a file nor one of timm's networks."""
    return not reference.startswith("timm/") and not reference.endswith(".safetensors")


def resolve_reference(reference: str) -> str:
    """Return a reference that means the same later: a run's whole uuid in place of its beginning, `last` or `best`.

    Raises:
        UserError: there is no such run.
    """
    return _run(reference).uuid if names_a_run(reference) else reference


def _run(reference: str) -> Run:
    try:
        return run(reference)
    except UserError as error:
        expected = "expected FILE.safetensors (`import` makes one), timm/NAME or a run"
        raise UserError(f"pretrained={shortened(reference)}: {expected}; {error}") from None


def _reader(reference: str) -> Callable[[str, Mapping[str, Any]], Start]:
    if reference.startswith("timm/"):
        return _from_timm
    return _from_run if names_a_run(reference) else _from_file


def _from_run(reference: str, sizes: Mapping[str, Any]) -> Start:
    source = _run(reference)
    weights, data = weights_of(source)
    _check_sizes(reference, {**source.recorded, "in_channels": data["image_shape"][2]}, sizes)
    n_classes = source.configs["n_classes"]
    return Start(f"run {source.uuid[:8]}", weights, class_names(data, n_classes if isinstance(n_classes, int) else 0))


def _from_file(reference: str, sizes: Mapping[str, Any]) -> Start:
    trained = from_file(Path(reference))
    _check_sizes(reference, {**trained.configs, "in_channels": trained.image_shape[2]}, sizes)
    return Start(reference, trained.model.state_dict(), trained.classes)


def _from_timm(reference: str, sizes: Mapping[str, Any]) -> Start:
    try:
        import timm
    except ImportError:
        raise UserError(f"pretrained={reference} needs timm: pip install timm") from None
    name = reference.removeprefix("timm/")
    known = timm.list_models("convmixer*")
    if name.partition(".")[0] not in known:
        raise UserError(f"pretrained={reference}: timm has no such ConvMixer, it has {', '.join(known)}")
    with torch.device("meta"):  # to check its sizes before anything is downloaded
        model = timm.create_model(name)
    theirs = sizes_of(from_layout(model.state_dict(), "timm"), reference)
    _check_sizes(reference, theirs | {"activation": type(model.stem[1]).__name__}, sizes)
    return Start(reference, from_layout(_downloaded(reference, name), "timm"), model.num_classes)


def _downloaded(reference: str, name: str) -> Weights:
    import timm

    log.info("loading %s; it is downloaded if it is not on this machine yet", reference)
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # it logs each retry, and then raises
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the network, the hub and its cache raise many types
        raise UserError(
            f"pretrained={reference}: could not be downloaded ({one_line(error)}); "
            "a file with the weights can be converted with `import`"
        ) from None


def _check_sizes(reference: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    differing = [name for name in SIZES if theirs[name] != ours[name]]
    if differing == ["in_channels"]:
        there, here = theirs["in_channels"], ours["in_channels"]
        raise UserError(f"pretrained={reference}: trained on images of {there} channels, but these images have {here}")
    if differing:
        remedy = " ".join(f"{name}={theirs[name]}" for name in differing if name != "in_channels")
        raise UserError(f"pretrained={reference}: the weights are for a network of other sizes: give {remedy}")


def _report(start: Start, fitting: Mapping[str, Tensor], own: Mapping[str, Tensor], new_head: int | None) -> str:
    text = f"{start.name}: {len(fitting)} of {len(start.weights)} tensors loaded"
    if new_head:
        there = start.classes if isinstance(start.classes, int) else len(start.classes)
        text += f"; new head for {new_head} classes, as the weights are for {there} other classes"
    left = [name for name in own if name not in fitting and not (new_head and name.startswith(HEAD))]
    if left:
        text += f"; not in the weights, so random: {', '.join(left[:3])}" + (" ..." if len(left) > 3 else "")
    return text
