"""The command `runs send`."""

import click

from convmixer.commands.shared import OVERRIDES, RUN, pass_configs


@click.command()
@RUN
@OVERRIDES
@pass_configs
def send(configs_class: type, run: str, overrides: tuple[str, ...]) -> None:
    """Send the missing data of RUN to a labml server.

    It is the server of the training; tracking.app_url=URL names another one.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import split_assignments
    from convmixer.configs.reopening import check_changes
    from convmixer.tracking.labml_fixes import use_project_folder
    from convmixer.tracking.runs import run as find_run
    from convmixer.tracking.send import send as send_run

    use_project_folder()
    given = check_changes(split_assignments(overrides), keys_of(configs_class), ("tracking.app_url",))
    send_run(find_run(run), given.get("tracking.app_url"))
