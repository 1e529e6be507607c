"""The command `import`."""

from pathlib import Path
from typing import Any

import click

from convmixer.commands.shared import FORCE, pass_configs

LAYOUTS = ("timm", "authors", "labml")  # as in model/interchange.py, which takes a second to import


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(("auto", *LAYOUTS)),
    default="auto",
    help="Layout of FILE; auto finds it from the names of its tensors.",
)
@click.option(
    "--trained-on", type=click.Choice(("cifar10", "imagenet")), help="Fill in the next four options for this data set."
)
@click.option(
    "--classes",
    help="Names of the classes, in the order of their labels: a,b,c or a text file with one name on each line.",
)
@click.option("--image-size", type=click.IntRange(1, 4096), help="Height and width of the images, in pixels.")
@click.option("--mean", help="Mean of each channel, on a scale of 0 to 1, such as 0.485,0.456,0.406.")
@click.option("--std", help="Standard deviation of each channel, on the same scale.")
@click.option(
    "--activation",
    type=click.Choice(("GELU", "ReLU", "SiLU")),
    help="Activation function (not stored in weight files).",
)
@FORCE
@pass_configs
def import_(
    configs_class: type,
    file: Path,
    output: Path,
    layout: str,
    trained_on: str | None,
    activation: str | None,
    force: bool,
    **given: Any,
) -> None:
    """Convert the weights of another ConvMixer.

    FILE has weights of timm, of the authors' code or of labml_nn. No code in it is run.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.resolving import resolve
    from convmixer.trained.import_weights import import_weights

    defaults = resolve({"recipe": "small"}, keys_of(configs_class))
    import_weights(file, output, layout, trained_on, activation, given, defaults, force)
