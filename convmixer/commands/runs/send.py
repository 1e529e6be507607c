"""The command `runs send`."""

import click

from convmixer.commands.shared import OVERRIDES, RUN, pass_configs
from convmixer.errors import UserError
from convmixer.tracking.trackers import TRACKERS

LABML = "labml"


@click.command()
@RUN
@OVERRIDES
@click.option("--to", type=click.Choice([LABML, *TRACKERS]), default=LABML, show_default=True, help="The tracker.")
@pass_configs
def send(configs_class: type, run: str, overrides: tuple[str, ...], to: str) -> None:
    """Send the missing data of RUN to a tracker.

    For labml it is the server of the training; tracking.app_url=URL names another one. Where the others keep runs is in
    docs/trackers.md.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import split_assignments
    from convmixer.configs.reopening import check_changes
    from convmixer.tracking import send as labml
    from convmixer.tracking.labml_fixes import use_project_folder
    from convmixer.tracking.runs import run as find_run
    from convmixer.tracking.trackers import processes

    use_project_folder()
    given = check_changes(split_assignments(overrides), keys_of(configs_class), ("tracking.app_url",))
    if to == LABML:
        labml.send(find_run(run), given.get("tracking.app_url"))
    elif given:
        raise UserError(f"command line: tracking.app_url is labml's server: leave it out with --to {to}")
    else:
        processes.send(find_run(run), to)
