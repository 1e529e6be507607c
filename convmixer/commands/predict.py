"""The command `predict`."""

import os
from pathlib import Path

import click

from convmixer.commands import completion
from convmixer.commands.shared import RUN_OR_FILE, pass_configs

CHANGEABLE = ("device", "precision", "valid_batch_size")  # where and how the network computes


@click.command()
@RUN_OR_FILE
@click.argument(
    "images",
    nargs=-1,
    required=True,
    metavar="FILE|FOLDER|-... [KEY=VALUE]...",
    shell_complete=completion.complete_file,
)
@click.option(
    "--top", type=click.IntRange(min=1), default=3, show_default=True, help="Number of classes shown for each image."
)
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "jsonl"]), help="Default: table on a terminal, else csv."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file; default: standard output."
)
@pass_configs
def predict(
    configs_class: type, run: str, images: tuple[str, ...], top: int, form: str | None, output: Path | None
) -> None:
    """Classify images of any size and format.

    RUN is a run (its uuid, the beginning of it, `last` or `best`) or a .safetensors file. Folders are searched at any
    depth. - reads standard input: one image, or paths of images, one on each line. The exit status is 1 if some images
    could not be read.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import split_assignments
    from convmixer.configs.reopening import check_changes
    from convmixer.files.atomic import check_output
    from convmixer.tracking.labml_fixes import use_project_folder
    from convmixer.trained import load
    from convmixer.trained.predict import predict_files

    use_project_folder()
    paths = [a for a in images if "=" not in a or os.path.exists(a)]
    changes = split_assignments(a for a in images if a not in paths)
    changes = check_changes(changes, keys_of(configs_class), CHANGEABLE)
    if output:
        check_output(output, "--output")
    predict_files(load(run, configs_class), paths, form, top, output, changes)
