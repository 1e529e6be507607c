"""The command `evaluate`."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convmixer.commands.shared import OVERRIDES, RUN_OR_FILE, pass_configs
from convmixer.console import counted
from convmixer.errors import UserError

if TYPE_CHECKING:
    from convmixer.configs import Configs
    from convmixer.data.splits import Dataset, Split
    from convmixer.tracking.recorded_run import Run
    from convmixer.trained import Trained

log = logging.getLogger("convmixer")

# The keys that may differ from the training: where and how images are read, where and how the network computes.
CHANGEABLE = ("data.dataset", "data.path", "data.image_size", "device", "precision", "valid_batch_size")


@click.command()
@RUN_OR_FILE
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
    from convmixer.tracking.labml_fixes import use_project_folder
    from convmixer.tracking.recorded_run import Run
    from convmixer.tracking.runs import run as find_run
    from convmixer.trained.evaluate import evaluate as measure
    from convmixer.trained.opening import check_reference

    if json_file == "-":
        logging.getLogger("convmixer").setLevel(logging.WARNING)
    use_project_folder()
    changes = check_changes(split_assignments(overrides), keys_of(configs_class), CHANGEABLE)
    check_reference(run)
    source = Path(run) if run.endswith(".safetensors") else find_run(run)
    trained, name, split = _network_and_images(configs_class, source, changes, data)
    if isinstance(source, Run):
        _say_if_unended(source)
        output = output or source.folder / "evaluation" / name
    measure(trained, split, name, tta, json_file, output, changes)


def _network_and_images(
    configs_class: "type[Configs]", source: "Path | Run", changes: Mapping[str, Any], data: Path | None
) -> "tuple[Trained, str, Split]":
    from convmixer.data.images import labelled_images
    from convmixer.data.records import name_of

    if data is None:
        trained, dataset = _network_and_its_data(configs_class, source, changes)
        return trained, dataset.name, dataset.test
    clash = next((key for key in changes if key.startswith("data.")), None)
    if clash:
        raise UserError(f"command line: --data and {clash} exclude each other: give only one of them")
    trained = _opened(source, configs_class)
    data = data.expanduser().resolve()
    return trained, name_of(data), labelled_images(data, trained.classes, trained.image_shape)


def _network_and_its_data(
    configs_class: "type[Configs]", source: "Path | Run", changes: Mapping[str, Any]
) -> "tuple[Trained, Dataset]":
    from convmixer.configs.checks import check_configs
    from convmixer.configs.reopening import reopen, reopen_file

    if isinstance(source, Path):
        trained = _opened(source, configs_class)
        reopened = partial(reopen_file, configs_class, trained)
        conf = reopened(changes)
    else:
        reopened = partial(reopen, configs_class, source, changeable=CHANGEABLE)
        conf = reopened(changes)  # first, as it refuses a run of another script
        trained = _opened(source, configs_class)
    height, width, _ = trained.image_shape
    if "data.image_size" not in changes and height == width != conf.data.dataset.train.stored.shape[1]:
        conf = reopened({**changes, "data.image_size": height})
    check_configs(conf)
    dataset = conf.data.dataset
    if tuple(dataset.classes) != trained.classes[: len(dataset.classes)]:
        raise UserError(
            f"data: {dataset.name} has the classes {', '.join(dataset.classes)}, but {trained.name} "
            f"was trained on {', '.join(trained.classes)}"
        )
    return trained, dataset


def _opened(source: "Path | Run", configs_class: "type[Configs]") -> "Trained":
    from convmixer.trained.opening import from_file, from_run

    return from_file(source, configs_class) if isinstance(source, Path) else from_run(source, configs_class)


def _say_if_unended(run: "Run") -> None:
    """Say that a run has not ended: its accuracy is not the final one."""
    from convmixer.tracking.facts import facts

    if run.summary:
        return
    known = facts(run).known
    done, total = known["epochs_done"], known["epochs_total"]
    after = f" after {done:.3g}" + (f" of {counted(total, 'epoch')}" if total else " epochs") if done else ""
    weights = "best weights so far" if run.checkpoint("best").exists() else "last weights"
    log.warning(f"run {run.uuid[:8]} has not ended: it is {known['status']}{after}; these are its {weights}")
