"""Imports the weights of other ConvMixers, from timm, the authors' code or labml_nn, to a .safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convmixer.console import composed, is_plain, one_line
from convmixer.data.normalisation import floored
from convmixer.errors import UserError
from convmixer.files.untrusted import as_utf8, read_bytes
from convmixer.model.interchange import Weights, from_layout, recognise, sizes_of
from convmixer.model.variants import SIZES, conv_mixer
from convmixer.trained.export import metadata_of
from convmixer.trained.model_card import card_path, write_card
from convmixer.trained.network import Trained
from convmixer.trained.opening import BUILT_IN
from convmixer.trained.weight_files import check_new, read_tensors, save_weights

CIFAR10_CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
# Facts that weight files do not hold, from the authors' and timm's trainings on these data sets.
TRAINED_ON: dict[str, dict[str, Any]] = {
    "cifar10": {
        "classes": CIFAR10_CLASSES,
        "image_size": 32,
        "mean": "0.4914,0.4822,0.4465",
        "std": "0.2471,0.2435,0.2616",
    },
    "imagenet": {"image_size": 224, "mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},
}


def import_weights(
    file: Path,
    output: Path,
    layout: str,
    trained_on: str | None,
    activation: str | None,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    force: bool = False,
) -> None:
    """Convert other weights to a file that `evaluate`, `predict`, `export` and `pretrained=` take, with a model card.

    Args:
        file: the weights to import.
        output: the .safetensors file to write.
        layout: one of `interchange.LAYOUTS`; `auto` finds it from the tensors' names.
        trained_on: one of `TRAINED_ON`, which fills in what `given` lacks.
        activation: None: that of the paper's network of these sizes, which is GELU for all but 768/32.
        given: `classes` (`a,b,c`, or the name of a text file with one on each line, in the order of labels),
            `image_size` in pixels, `mean` and `std` (of each channel, on a scale of 0 to 1: `0.485,0.456,0.406`);
            None for each that is not given.
        defaults: the values of all keys, for keys that the weights do not determine.
        force: overwrite a file that exists.

    Raises:
        UserError: the file is damaged or not a ConvMixer's, or a fact is missing or does not fit.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"--output {output}: expected a name that ends in .safetensors")
    check_new(output, force)
    card_path(output)
    facts = TRAINED_ON.get(trained_on or "", {}) | {name: value for name, value in given.items() if value is not None}
    weights, layout = _read(file, layout)
    sizes = sizes_of(weights, str(file))
    data = _data(trained_on, facts, sizes)
    numbers = {**sizes, "activation": activation or _usual_activation(sizes)}
    model = conv_mixer(**numbers)
    model.load_state_dict(weights)
    trained = Trained(
        file.name,
        model.eval(),
        tuple(data["classes"]),
        tuple(data["image_shape"]),
        tuple(data["mean"]),
        floored(data["std"]),
        {**defaults, **BUILT_IN, **numbers},
        summary={},
        data=data,
        given={},
        imported=f"{file.name}, in the layout {layout}",
    )
    save_weights(output, model.state_dict(), metadata_of(trained))
    card = write_card(trained, output, "safetensors", folded=False)
    print(f"{output}: from {trained.imported}: {_listed(numbers)}; model card: {card}")


def _read(file: Path, layout: str) -> tuple[Weights, str]:
    tensors = read_tensors(file)
    layout = recognise(tensors, str(file)) if layout == "auto" else layout
    return from_layout(tensors, layout), layout


def _usual_activation(sizes: Mapping[str, int]) -> str:
    named = SIZES.get(f"{sizes['d_model']}/{sizes['n_layers']}", {})
    return str(named.get("activation", "GELU"))


def _data(trained_on: str | None, facts: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return the description of the data as a run records it, checked against the sizes of the network."""
    names = _imagenet_classes() if trained_on == "imagenet" and "classes" not in facts else facts.get("classes")
    wanted = {"--classes": names, **{f"--{n.replace('_', '-')}": facts.get(n) for n in ("image_size", "mean", "std")}}
    missing = [option for option, value in wanted.items() if value is None]
    if missing:
        known = " or ".join(TRAINED_ON)
        raise UserError(f"{', '.join(missing)}: needed, as weight files do not hold it; or give --trained-on {known}")
    classes = _class_names(names) if isinstance(names, str) else names
    if len(classes) != sizes["n_classes"]:
        raise UserError(f"--classes: {len(classes)} names, but the head in the file has {sizes['n_classes']} outputs")
    side, channels = facts["image_size"], sizes["in_channels"]
    if side % sizes["patch_size"]:
        raise UserError(f"--image-size {side}: the patch_size {sizes['patch_size']} of the file does not divide it")
    return {
        "name": trained_on or "its own data",
        "classes": classes,
        "image_shape": [side, side, channels],
        "mean": _per_channel("--mean", facts["mean"], channels),
        "std": _per_channel("--std", facts["std"], channels),
    }


def _imagenet_classes() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return ResNet18_Weights.IMAGENET1K_V1.meta["categories"]


def _class_names(text: str) -> list[str]:
    """Names as `a,b,c`, or a text file of a line each, as any editor leaves it: byte order mark, last line."""
    path = Path(text)
    try:
        names = as_utf8(read_bytes(path)).decode().rstrip().split("\n") if path.is_file() else text.split(",")
    except ValueError as error:
        raise UserError(f"--classes {text}: can't be read: {one_line(error)}") from None
    names = [composed(name).strip() for name in names]
    if not all(names):
        raise UserError(f"--classes {text[:60]!a}: a name is empty, expected a,b,c or a text file of a line each")
    odd = next((name for name in names if not is_plain(name)), None)
    if odd is not None:
        raise UserError(f"--classes {text[:60]!a}: the name {odd[:60]!a} holds characters that can't be shown")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        places = [str(label) for label, name in enumerate(names) if name == twice]
        raise UserError(
            f"--classes {text[:60]!a}: {twice[:60]!r} is the name of the labels {' and '.join(places[:3])}: "
            f"give each its own, as '{twice[:30]} {places[1]}'"
        )
    return names


def _per_channel(option: str, text: str, channels: int) -> list[float]:
    lowest = "above 0" if option == "--std" else "from 0"
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    in_range = all(0 <= value <= 1 and (value > 0 or option == "--mean") for value in values)
    if len(values) != channels or not in_range:
        raise UserError(f"{option} {text[:60]!a}: expected {channels} numbers {lowest} up to 1, as 0.485,0.456,0.406")
    return values


def _listed(numbers: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in numbers.items())
