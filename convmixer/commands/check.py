"""The command `check`."""

from pathlib import Path

import click

from convmixer.commands.shared import CONFIG, OVERRIDES, check_given, pass_configs


@click.command()
@OVERRIDES
@CONFIG
@pass_configs
def check(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> None:
    """Check that a network can learn one batch by heart.

    Use this first when a network does not learn: one that cannot learn a single batch has a fault. The message says
    what was observed.
    """
    from convmixer.configs.building import build
    from convmixer.experiment.overfit import overfit
    from convmixer.tracking.labml_fixes import use_project_folder

    use_project_folder()
    conf = configs_class()
    conf.override(check_given(configs_class, overrides, config))
    overfit(build(conf))
