"""Writes the model card of an exported file: what the weights are, their accuracy, how to use them."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from convmixer.console import as_argument, as_arguments
from convmixer.data.datasets import dataset_of_auto
from convmixer.errors import UserError
from convmixer.model.folding import is_standard
from convmixer.project import command
from convmixer.trained.network import Trained
from convmixer.trained.weight_files import PICKLES, write_file

MARK = "<!-- a model card of convmixer-lab -->"
SIZES = ("d_model", "n_layers", "kernel_size", "patch_size", "n_classes", "in_channels", "activation")

PLACES = {"data.path": "FOLDER", "tracking.app_url": "URL"}

CARD = """# {title}

{network}; {parameters:,} parameters.

| | |
|---|---|
{rows}

Input: float32 [batch, {channels}, {height}, {width}], the pixels scaled to 0..1, minus the mean {mean}, divided by the
deviation {std}. Output: logits [batch, {n_classes}].

## Use

```python
{use}
```
{measure}
{mark}
"""

# Each defines `model`, or `session` for ONNX. Tests run them.
USE = {
    "safetensors": """from convmixer import load

trained = load("{file}")
model = trained.model  # and trained.classes, trained.normalise(images)""",
    "timm": """from timm.models import load_checkpoint
from timm.models.convmixer import ConvMixer
from torch import nn

model = ConvMixer(
    {d_model}, {n_layers}, kernel_size={kernel_size}, patch_size={patch_size},
    in_chans={in_channels}, num_classes={n_classes}, act_layer=nn.{activation},
)
load_checkpoint(model, "{file}")
model.eval()""",
    "hub": """import json
from pathlib import Path

from timm.models import load_checkpoint
from timm.models.convmixer import ConvMixer
from torch import nn

folder = Path("{file}")  # or Path(huggingface_hub.snapshot_download("USER/NAME"))
config = json.loads((folder / "config.json").read_text())
model = ConvMixer(**config["model_args"], act_layer=nn.{activation})
load_checkpoint(model, str(folder / "model.safetensors"))
model.eval()
classes = config["label_names"]""",
    "hub of timm's sizes": """import timm

model = timm.create_model("local-dir:{file}", pretrained=True)  # or "hf-hub:USER/NAME"
model.eval()
classes = model.pretrained_cfg["label_names"]""",
    "authors": """{read}
# ConvMixer of the authors' convmixer.py (locuslab/convmixer); its activation must be {activation}
model = ConvMixer({d_model}, {n_layers}, kernel_size={kernel_size}, patch_size={patch_size}, n_classes={n_classes})
{channels}model.load_state_dict(weights)
model.eval()""",
    "labml": """{read}
from labml_nn.conv_mixer import ClassificationHead, ConvMixer, ConvMixerLayer, PatchEmbeddings

layer, patches = ConvMixerLayer({d_model}, {kernel_size}), PatchEmbeddings({d_model}, {patch_size}, {in_channels})
model = ConvMixer(layer, {n_layers}, patches, ClassificationHead({d_model}, {n_classes}))
model.load_state_dict(weights)
model.eval()""",
    "pt2": """import torch

model = torch.export.load("{file}").module()""",
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("{file}")
# logits = session.run(None, {{"images": images}})[0], with images a NumPy array""",
}


def card_path(output: Path) -> Path:
    """Return the path of an exported file's card: my.md for my.safetensors, my.onnx.md for my.onnx.

    Raises:
        UserError: another file than a model card is at that path.
    """
    card = output.with_suffix(".md") if output.suffix == ".safetensors" else output.with_name(f"{output.name}.md")
    if card.exists() and not _is_card(card):
        raise UserError(f"{card}: exists and is not a model card, so it is not overwritten; give another --output")
    return card


def _is_card(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return MARK in text or "\n| licence | MIT |\n" in text  # the second one is of version 0.1


def without_places(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of keys without private paths and addresses."""
    hidden = {name: stand_in for name, stand_in in PLACES.items() if values.get(name)}
    start = values.get("pretrained")
    if isinstance(start, str) and start and not start.startswith("timm/"):
        hidden["pretrained"] = Path(start).name
    return {**values, **hidden}


def write_card(trained: Trained, output: Path, format_name: str, folded: bool) -> Path:
    """Write the model card of `output` and return its path.

    Raises:
        UserError: it can't be written, or a fact on it is not known.
    """
    path = card_path(output)
    write_file(path, card_text(trained, output, format_name, folded).encode(errors="backslashreplace"))
    return path


def card_text(trained: Trained, output: Path, format_name: str, folded: bool = False) -> str:
    """Return the model card of `output`.

    Raises:
        UserError: a fact on it is not known.
    """
    try:
        return _card(trained, output, format_name, folded)
    except KeyError as missing:
        raise UserError(f"{trained.name}: lacks {missing}, which the model card needs") from None


def _card(trained: Trained, output: Path, format_name: str, folded: bool) -> str:
    height, width, channels = trained.image_shape
    accuracy = trained.summary.get("accuracy.test")
    numbers = {name: trained.configs[name] for name in SIZES} | {
        "n_classes": len(trained.classes),
        "in_channels": channels,
    }
    return CARD.format(
        title=_title(trained, output) + (f" ({accuracy:.2%})" if accuracy is not None else ""),
        network=_network(trained.model, numbers),
        parameters=sum(p.numel() for p in trained.model.parameters()),
        rows="\n".join(f"| {name} | {text} |" for name, text in _rows(trained, output, format_name, folded).items()),
        channels=channels,
        height=height,
        width=width,
        n_classes=len(trained.classes),
        mean=_numbers(trained.mean),
        std=_numbers(trained.std),
        use=USE[format_name].format(file=output.name, read=_reading(output), channels=_first(numbers), **numbers),
        measure=_how_to_measure(trained, output) if format_name == "safetensors" else "",
        mark=MARK,
    )


def _title(trained: Trained, output: Path) -> str:
    return trained.summary.get("name", output.stem)


def _network(model: nn.Module, numbers: dict[str, Any]) -> str:
    text = "ConvMixer {d_model}/{n_layers}, kernel {kernel_size}, patch {patch_size}, {activation}".format(**numbers)
    return text if is_standard(model) else f"{text}, with parts of its own script"


def _rows(trained: Trained, output: Path, format_name: str, folded: bool) -> dict[str, str]:
    data, summary = trained.data, trained.summary
    height, width, _ = trained.image_shape
    rows = {
        "file": f"{output.name}: {_kind(format_name)}" + (", BatchNorm folded: only for inference" if folded else "")
    }
    if trained.imported:
        rows |= {"imported from": trained.imported, "classes": _cell(", ".join(trained.classes))}
        return rows | {"test accuracy": "not measured here", "licence": "that of the imported file"}
    classes = _cell(", ".join(data["classes"]))
    rows["data"] = f"{data['name']}, {data['train_images']:,} training images of {height}x{width}, classes: {classes}"
    accuracy, n_images = summary["accuracy.test"], summary["test_images"]
    rows["test accuracy"] = f"{accuracy:.2%} of {n_images:,} test images of {data['name']}"
    arguments = "" if trained.given is None else f": `{_cell(_command(trained.given))}`"
    rows["recipe"] = f"`{summary['recipe']}`{arguments}"
    if isinstance(summary.get("own"), dict) and summary["own"]:
        rows["script"] = _cell(f"{summary.get('script', 'of its own')}: {as_arguments(summary['own'])}")
    time = f"{summary['epochs']:.4g} epochs, {summary['seconds'] / 60:.1f} minutes"
    rows["training"] = f"{time} on {summary['device']}, {summary['precision']}"
    rows["weights"] = f"those of the `{summary['weights']}` checkpoint"
    rows["versions"] = ", ".join(f"{name} {text}" for name, text in summary["versions"].items())
    start = without_places(trained.configs).get("pretrained")
    return rows | {"licence": f"MIT; began from {start}, whose licence holds too" if start else "MIT"}


def _kind(format_name: str) -> str:
    layouts = {"timm": "timm's layout", "authors": "the authors' layout", "labml": "labml_nn's layout"}
    others = {"pt2": "torch.export", "onnx": "ONNX", "safetensors": "convmixer-lab"}
    if format_name.startswith("hub"):
        return "a folder for the Hugging Face Hub, in timm's layout"
    return (layouts | others)[format_name]


def _command(given: dict[str, Any]) -> str:
    arguments = (shlex.quote(as_argument(name, value)) for name, value in without_places(given).items())
    return " ".join([command(), *arguments])


def _how_to_measure(trained: Trained, output: Path) -> str:
    if trained.imported:
        return f"\nMeasure it: `python experiment.py evaluate {output.name} --data FOLDER`\n"
    dataset = trained.configs["data.dataset"]
    if dataset == "auto":
        dataset = dataset_of_auto([trained.data["name"]], None)
    arguments = f"data.dataset={dataset}" + (" data.path=FOLDER" if dataset == "images" else "")
    return f"\nMeasure the accuracy again: `python experiment.py evaluate {output.name} {arguments}`\n"


def _first(numbers: Mapping[str, Any]) -> str:
    """The line that makes the authors' first layer, which is for 3 channels, one for others."""
    if numbers["in_channels"] == 3:
        return ""
    sizes = "{in_channels}, {d_model}, {patch_size}, {patch_size}".format(**numbers)
    return f"model[0] = torch.nn.Conv2d({sizes})  # in place of theirs, which is for 3 channels\n"


def _reading(output: Path) -> str:
    if output.suffix in PICKLES:
        return f'import torch\n\nweights = torch.load("{output.name}", weights_only=True)'
    return f'import torch\nfrom safetensors.torch import load_file\n\nweights = load_file("{output.name}")'


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _cell(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return text.replace("|", "\\|")
