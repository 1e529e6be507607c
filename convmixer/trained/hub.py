"""Writes a folder for the Hugging Face Hub: weights and config.json as timm reads them, and a model card with metadata.

https://huggingface.co/docs/hub/model-cards
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from convmixer.errors import UserError
from convmixer.model.interchange import to_layout
from convmixer.trained.model_card import card_text
from convmixer.trained.network import Trained
from convmixer.trained.weight_files import write_file, write_tensors

FILES = ("model.safetensors", "config.json", "README.md")
# The only sizes that timm's `create_model` builds: (dim, depth, kernel size, patch size, activation).
TIMM_SIZES = {
    (1536, 20, 9, 7, "GELU"): "convmixer_1536_20",
    (768, 32, 7, 7, "ReLU"): "convmixer_768_32",
    (1024, 20, 9, 14, "GELU"): "convmixer_1024_20_ks9_p14",
}
DATASETS = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}  # as the Hub calls them


def check_folder(folder: Path, force: bool) -> None:
    """Check that a folder can be written and holds nothing that would be lost or uploaded by mistake.

    Raises:
        UserError: there is such a thing.
    """
    if not folder.absolute().parent.is_dir():
        raise UserError(f"--output {folder}: there is no folder {folder.parent}")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file, expected the name of a folder for --format hub")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in there if name not in FILES and not name.startswith(".")]
    if others:
        raise UserError(f"--output {folder}: holds {others[0]}, which is not of a model; give a new folder")
    if there and not force:
        raise UserError(f"--output {folder}: exists; --force overwrites what is in it")


def write_folder(trained: Trained, folder: Path) -> None:
    """Write the folder of a network that has ConvMixer's built-in layers.

    Raises:
        UserError: a file can't be written.
    """
    card = f"---\n{yaml.safe_dump(_metadata(trained, folder.name), sort_keys=False, allow_unicode=True)}---\n\n"
    card += card_text(trained, folder, "hub of timm's sizes" if _timm_name(trained) else "hub")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: can't be written: {error.strerror}") from None
    write_tensors(folder / "model.safetensors", to_layout(trained.model.state_dict(), "timm"))
    write_file(folder / "config.json", (json.dumps(_config(trained), indent=2) + "\n").encode())
    write_file(folder / "README.md", card.encode(errors="backslashreplace"))


def _timm_name(trained: Trained) -> str | None:
    return TIMM_SIZES.get(
        tuple(trained.configs[key] for key in ("d_model", "n_layers", "kernel_size", "patch_size", "activation"))
    )


def _config(trained: Trained) -> dict[str, Any]:
    """Return config.json as timm writes it; of other sizes than timm's, all arguments of its class ConvMixer."""
    configs, name = trained.configs, _timm_name(trained)
    height, width, channels = trained.image_shape
    own = {"dim": configs["d_model"], "depth": configs["n_layers"]}
    own |= {"kernel_size": configs["kernel_size"], "patch_size": configs["patch_size"]}
    return {
        "architecture": name or "convmixer",
        "num_classes": len(trained.classes),
        "num_features": configs["d_model"],
        "label_names": list(trained.classes),
        "model_args": ({} if name else own) | {"in_chans": channels, "num_classes": len(trained.classes)},
        "pretrained_cfg": {
            "num_classes": len(trained.classes),
            "input_size": [channels, height, width],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(trained.mean),
            "std": list(trained.std),
            "first_conv": "stem.0",
            "classifier": "head",
        },
    }


def _metadata(trained: Trained, name: str) -> dict[str, Any]:
    """Return the metadata at the head of the card, from which the Hub makes its page."""
    is_derived = trained.imported or trained.configs.get("pretrained")
    found = {
        "license": "other" if is_derived else "mit",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "convmixer"],
    }
    dataset = DATASETS.get(trained.data.get("name", ""))
    if dataset:
        found["datasets"] = [dataset]
    if "accuracy.test" in trained.summary:
        found |= {"metrics": ["accuracy"], "model-index": [{"name": name, "results": [_result(trained, dataset)]}]}
    return found


def _result(trained: Trained, dataset: str | None) -> Mapping[str, Any]:
    accuracy = {"type": "accuracy", "name": "test accuracy", "value": round(trained.summary["accuracy.test"], 4)}
    data = trained.data["name"]
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": dataset or data, "split": "test"},
        "metrics": [accuracy],
    }
