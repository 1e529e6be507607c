"""The command `check`: `check batch`, the default, and `check lr`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convmixer.commands.shared import CONFIG, OVERRIDES, DefaultGroup, check_given, pass_configs

if TYPE_CHECKING:
    from convmixer.experiment.experiment import Experiment


@click.group(cls=DefaultGroup, default="batch", is_argument=lambda word: "=" in word or word.startswith("-"))
def check() -> None:
    """Check a network or a learning rate before a long training."""


@check.command()
@OVERRIDES
@CONFIG
@pass_configs
def batch(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> None:
    """Check that a network can learn one batch by heart (the default command).

    Use this first when a network does not learn: one that cannot learn a single batch has a fault. The message says
    what was observed.
    """
    from convmixer.experiment.overfit import overfit

    overfit(_experiment(configs_class, overrides, config))


@check.command()
@OVERRIDES
@CONFIG
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("learning-rate.png"), show_default=True, help="Picture."
)
@pass_configs
def lr(configs_class: type, overrides: tuple[str, ...], config: Path | None, output: Path) -> None:
    """Find a learning rate: train shortly while it grows, and see where the loss falls fastest.

    It takes up to 200 updates, and leaves no run behind.
    """
    from convmixer.console import counted
    from convmixer.experiment.learning_rate_range import picture, range_test
    from convmixer.files.atomic import check_output, written_whole

    check_output(output, "--output")
    found = range_test(_experiment(configs_class, overrides, config))
    with written_whole(output, "wb") as file:
        picture(found).savefig(file, format="png", dpi=110)
    print(
        f"the loss falls fastest at optimizer.learning_rate={found.steepest:.2g}, and is lowest at {found.lowest:.2g} "
        f"({counted(len(found.rates), 'update')}, from {found.rates[0]:.2g} to {found.rates[-1]:.2g})"
    )
    print(f"try optimizer.learning_rate={found.steepest:.1g}, and not more than {found.lowest:.1g}")
    print(f"picture: {output}")


def _experiment(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> "Experiment":
    from convmixer.configs.building import build
    from convmixer.tracking.labml_fixes import use_project_folder

    use_project_folder()
    conf = configs_class()
    conf.override(check_given(configs_class, overrides, config))
    return build(conf)
