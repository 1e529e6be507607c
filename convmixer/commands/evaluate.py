"""The command `evaluate`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convmixer.commands.shared import OVERRIDES, pass_configs
from convmixer.errors import UserError

if TYPE_CHECKING:
    from convmixer.configs import Configs
    from convmixer.data.splits import Dataset, Split
    from convmixer.trained import Trained

# The keys that may differ from the training: where and how images are read, where and how the network computes.
CHANGEABLE = ("data.dataset", "data.path", "data.image_size", "device", "precision", "valid_batch_size")


@click.command()
@click.argument("run")
@OVERRIDES
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled images in place of the test images: a folder or a .zip of <class>/* or test/<class>/*.",
)
@click.option(
    "--tta",
    type=click.Choice(["mirror", "shifts"]),  # as in trained/views.py
    is_flag=False,
    flag_value="mirror",
    help="Also average logits over test-time views: each image and its mirror image (alone: this), or shifted by a "
    "pixel too.",
)
@click.option("--json", "json_file", metavar="FILE|-", help="Write all numbers to FILE; - prints only them.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the pictures; default: the run's folder.")
@pass_configs
def evaluate(
    configs_class: type,
    run: str,
    overrides: tuple[str, ...],
    data: Path | None,
    tta: str | None,
    json_file: str | None,
    output: Path | None,
) -> None:
    """Measure a trained network on labelled images.

    RUN is a run (its uuid, the beginning of it, `last` or `best`) or a .safetensors file. Without --data, it is
    measured on the test images of its data set.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import split_assignments
    from convmixer.configs.reopening import check_changes
    from convmixer.tracking import runs
    from convmixer.tracking.labml_fixes import use_project_folder
    from convmixer.trained.evaluate import evaluate as measure

    if json_file == "-":
        logging.getLogger("convmixer").setLevel(logging.WARNING)
    use_project_folder()
    changes = check_changes(split_assignments(overrides), keys_of(configs_class), CHANGEABLE)
    trained, name, split = _network_and_images(configs_class, run, changes, data)
    if output is None and not _is_file(run):
        output = runs.run(run).folder / "evaluation" / name
    measure(trained, split, name, tta, json_file, output, changes)


def _network_and_images(
    configs_class: "type[Configs]", reference: str, changes: Mapping[str, Any], data: Path | None
) -> "tuple[Trained, str, Split]":
    from convmixer.data.images import labelled_images
    from convmixer.trained import load

    if data is None:
        trained, dataset = _network_and_its_data(configs_class, reference, changes)
        return trained, dataset.name, dataset.test
    clash = next((key for key in changes if key.startswith("data.")), None)
    if clash:
        raise UserError(f"command line: --data and {clash} exclude each other: give only one of them")
    trained = load(reference, configs_class)
    data = data.expanduser().resolve()
    name = data.stem if data.is_file() else data.name
    return trained, name, labelled_images(data, trained.classes, trained.image_shape)


def _network_and_its_data(
    configs_class: "type[Configs]", reference: str, changes: Mapping[str, Any]
) -> "tuple[Trained, Dataset]":
    from convmixer.configs.checks import check_configs
    from convmixer.configs.reopening import reopen, reopen_file
    from convmixer.tracking.runs import run
    from convmixer.trained import load

    if _is_file(reference):
        trained = load(reference, configs_class)
        conf = reopen_file(configs_class, trained, changes)
    else:
        conf = reopen(configs_class, run(reference), changes, CHANGEABLE)
        trained = load(reference, configs_class)
    check_configs(conf)
    dataset = conf.data.dataset
    if tuple(dataset.classes) != trained.classes[: len(dataset.classes)]:
        raise UserError(
            f"data: {dataset.name} has the classes {', '.join(dataset.classes)}, but {reference} "
            f"was trained on {', '.join(trained.classes)}"
        )
    return trained, dataset


def _is_file(reference: str) -> bool:
    return reference.endswith(".safetensors")
