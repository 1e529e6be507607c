"""The command `evaluate`: how good a trained network is on labelled images, in full."""

import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from convmixer.configs import Configs, resolve
from convmixer.consistency import check_consistency
from convmixer.data.datasets import auto_was
from convmixer.data.images import labelled_images
from convmixer.data.splits import Dataset, Split
from convmixer.errors import UserError
from convmixer.experiment.summary import versions
from convmixer.files.atomic import check_output
from convmixer.keys import keys_of
from convmixer.overrides import split_assignments
from convmixer.reopening import check_changes, reopen
from convmixer.tracking.runs import run
from convmixer.trained.classifier import Classifier
from convmixer.trained.evaluation_figures import confusion_figure, reliability_figure
from convmixer.trained.evaluation_table import measure, report
from convmixer.trained.metrics import calibration, confusion_matrix
from convmixer.trained.network import Trained, open_trained
from convmixer.trained.weight_files import write_file
from convmixer.training.hardware import describe_device

# What may be other than it was in training: where the images are and how they are read, where and how it computes.
CHANGEABLE = ("data.dataset", "data.path", "data.image_size", "device", "precision", "valid_batch_size")


def evaluate(
    configs_class: type[Configs],
    reference: str,
    overrides: Sequence[str],
    data: Path | None = None,
    tta: bool = False,
    json_file: str | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """Measure a run or a .safetensors file, print what came out, and return it as `--json` holds it.

    Args:
        data: labelled images, a folder or a .zip; None: the test split that it was trained beside.
        tta: measure also with the logits of image and mirror image averaged.
        json_file: where to write the figures, `-` for standard output in place of the printed ones.
        output: the folder for pictures; None: `evaluation/<data>/` in the run's folder, no pictures for a file.

    Raises:
        UserError: no such run or file, images that it can't be measured on, or a place that can't be written to.
    """
    changes = check_changes(split_assignments(overrides), keys_of(configs_class), CHANGEABLE)
    trained, name, split = _network_and_images(configs_class, reference, changes, data)
    if output is None and not _is_file(reference):
        output = run(reference).folder / "evaluation" / name
    _check_places(output, json_file)
    classifier = Classifier(trained, changes.get("device", "auto"), changes.get("precision"))
    batch_size = changes.get("valid_batch_size", trained.configs["valid_batch_size"])
    logits, rate = _all_logits(classifier, split.images, batch_size)
    mirrored, _ = _all_logits(classifier, split.images, batch_size, mirrored=True) if tta else (None, 0)
    result = {
        "network": trained.name,
        "data": name,
        "images": len(split.labels),
        **measure(logits, split.labels, trained.classes, mirrored),
        "images_per_second": rate,
        "device": describe_device(classifier.device),
        "precision": str(classifier.precision).removeprefix("torch."),
        "versions": versions(),
    }
    if output:
        _save_pictures(output, logits, split.labels, trained.classes, f"{trained.name} on {name}")
    if json_file == "-":
        print(json.dumps(result))
    else:
        report(result, output)
    if json_file not in (None, "-"):
        write_file(Path(json_file), json.dumps(result, indent=1).encode())
    return result


def _network_and_images(
    configs_class: type[Configs], reference: str, changes: Mapping[str, Any], data: Path | None
) -> tuple[Trained, str, Split]:
    if data is None:
        trained, dataset = _network_and_its_data(configs_class, reference, changes)
        return trained, dataset.name, dataset.test
    clash = next((key for key in changes if key.startswith("data.")), None)
    if clash:
        raise UserError(f"command line: --data and {clash} exclude each other, give one")
    trained = open_trained(reference, configs_class)
    data = data.expanduser().resolve()
    name = data.stem if data.is_file() else data.name
    return trained, name, labelled_images(data, trained.classes, trained.image_shape)


def _network_and_its_data(
    configs_class: type[Configs], reference: str, changes: Mapping[str, Any]
) -> tuple[Trained, Dataset]:
    if _is_file(reference):
        trained = open_trained(reference, configs_class)
        conf = _configs_of_file(configs_class, trained, changes)
    else:
        conf = reopen(configs_class, run(reference), changes, CHANGEABLE)
        trained = open_trained(reference, configs_class)
    conf.data.may_fall_back = False
    check_consistency(conf)
    dataset = conf.data.dataset
    if tuple(dataset.classes) != trained.classes[: len(dataset.classes)]:
        raise UserError(
            f"data: {dataset.name} has the classes {', '.join(dataset.classes)}, but {reference} "
            f"was trained on {', '.join(trained.classes)}"
        )
    return trained, dataset


def _configs_of_file(configs_class: type[Configs], trained: Trained, changes: Mapping[str, Any]) -> Configs:
    keys = keys_of(configs_class)
    recorded = resolve({}, keys) | {key: trained.configs[key] for key in keys if key in trained.configs}
    if recorded["data.dataset"] == "auto":  # what it came to then
        path = changes.get("data.path")
        recorded["data.dataset"] = auto_was([trained.data["name"]], path and Path(path))
    conf = configs_class()
    conf.override(changes, recorded | {"device": "auto", "data.path": None})
    return conf


def _is_file(reference: str) -> bool:
    return reference.endswith(".safetensors")


def _check_places(output: Path | None, json_file: str | None) -> None:
    """Find out before the work whether its results can be kept."""
    try:
        if output:
            output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: can't be written: {error.strerror}; --output names another folder") from None
    if json_file not in (None, "-"):
        check_output(Path(json_file), "--json")


def _all_logits(
    classifier: Classifier, images: Tensor, batch_size: int, mirrored: bool = False
) -> tuple[Tensor, float]:
    """The logits `[n, classes]` of uint8 `[n, height, width, channels]`, and images/s without the first batch."""
    console = Console(stderr=True)
    batches = images.split(batch_size)
    shown = track(batches, "mirrored" if mirrored else "evaluating", console=console, disable=not console.is_terminal)
    logits, ends = [], [time.perf_counter()]
    for batch in shown:
        logits.append(classifier.logits(batch, mirrored))
        ends.append(time.perf_counter())
    warm_up = 1 if len(batches) > 1 else 0
    return torch.cat(logits), sum(map(len, batches[warm_up:])) / (ends[-1] - ends[warm_up])


def _save_pictures(folder: Path, logits: Tensor, labels: Tensor, classes: Sequence[str], title: str) -> None:
    matrix = confusion_matrix(logits.argmax(1), labels, len(classes))
    figures = {
        "confusion.png": confusion_figure(matrix, classes, f"Confusion: {title}"),
        "reliability.png": reliability_figure(calibration(logits, labels), f"Reliability: {title}"),
    }
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=110)
        write_file(folder / name, buffer.getvalue())
