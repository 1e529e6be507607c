"""The command `train`."""

import logging
from pathlib import Path

import click

from convmixer.commands.shared import CONFIG, OVERRIDES, QUIET, check_given, pass_configs
from convmixer.training.distributed import torchrun


@click.command()
@OVERRIDES
@CONFIG
@QUIET
@pass_configs
def train(configs_class: type, overrides: tuple[str, ...], config: Path | None, quiet: bool) -> None:
    """Train a new run (the default command)."""
    from convmixer.commands.seeds import train_seeds
    from convmixer.commands.torchrun import train_together
    from convmixer.configs.building import build
    from convmixer.experiment.running import run_recorded
    from convmixer.tracking.labml_fixes import use_project_folder

    if quiet and torchrun.rank() == 0:  # the other workers print even less
        logging.getLogger("convmixer").setLevel(logging.WARNING)
    use_project_folder()
    given = check_given(configs_class, overrides, config)
    if torchrun.is_launched():
        train_together(configs_class, given, quiet)
    elif given.get("seeds", 1) > 1:
        train_seeds(configs_class, given, quiet)
    else:
        conf = configs_class()
        conf.override(given)
        run_recorded(build(conf), conf, quiet)
