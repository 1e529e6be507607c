"""The command `export`."""

from pathlib import Path

import click

from convmixer.commands.import_ import LAYOUTS
from convmixer.commands.shared import RUN_OR_FILE, pass_configs

FORMATS = ("safetensors", *LAYOUTS, "pt2", "onnx")  # as in trained/export.py


@click.command()
@RUN_OR_FILE
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="safetensors",
    help="File format: ours, other people's weights, torch.export or ONNX.",
)
@click.option(
    "--fold",
    "folded",
    is_flag=True,
    help="Fold BatchNorm into its neighbours for faster inference (only pt2 and onnx).",
)
@pass_configs
def export(configs_class: type, run: str, output: Path, format_name: str, folded: bool) -> None:
    """Write trained weights to a file, with a model card.

    RUN is a run that has ended (its uuid, the beginning of it, `last` or `best`) or a .safetensors file.
    """
    from convmixer.tracking.labml_fixes import use_project_folder
    from convmixer.trained.export import export as write

    use_project_folder()
    write(run, configs_class, output, format_name, folded)
