"""The command `resume`."""

import click

from convmixer.commands.shared import OVERRIDES, QUIET, RUN, pass_configs
from convmixer.training.distributed import torchrun


@click.command()
@RUN
@OVERRIDES
@QUIET
@pass_configs
def resume(configs_class: type, run: str, overrides: tuple[str, ...], quiet: bool) -> None:
    """Resume a run that was interrupted.

    RUN is its uuid, the beginning of it, or `last`. The result is the same as without the interruption.
    """
    from convmixer.commands.torchrun import resume_together
    from convmixer.configs.building import build
    from convmixer.configs.overrides import split_assignments
    from convmixer.configs.reopening import reopen_unended
    from convmixer.experiment.running import run_recorded
    from convmixer.tracking import runs
    from convmixer.tracking.labml_fixes import use_project_folder

    use_project_folder()
    changes = split_assignments(overrides)
    if torchrun.is_launched():
        resume_together(configs_class, run, changes, quiet)
        return
    resumed = runs.run(run)
    conf = reopen_unended(configs_class, resumed, changes)
    run_recorded(build(conf, resumed=resumed), conf, quiet, resumed)
