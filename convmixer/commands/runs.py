"""The commands `runs` and `runs send`."""

from typing import Any

import click
from rich.table import Table

from convmixer.commands.shared import OVERRIDES, pass_configs
from convmixer.commands.tables import print_table
from convmixer.console import printable
from convmixer.project import logs_folder


@click.group(invoke_without_command=True)
@click.pass_context
def runs(context: click.Context) -> None:
    """List all runs; `runs send` sends one to a labml server."""
    if context.invoked_subcommand is None:
        _list_runs()


def _list_runs() -> None:
    """Print all runs, oldest first."""
    from convmixer.tracking.runs import runs as all_runs

    rows = all_runs()
    if rows.empty:
        print(f"there are no runs in {logs_folder()}")
        return
    table = Table(*rows.columns, box=None, pad_edge=False)
    for row in rows.itertuples(index=False):
        table.add_row(*(_cell(name, value) for name, value in zip(rows.columns, row, strict=True)))
    print_table(table)


def _cell(column: str, value: Any) -> str:
    if value is None or value != value:  # NaN, as pandas writes what is missing
        return "-"
    if column in ("valid", "test"):
        return f"{value:.2%}"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


@runs.command()
@click.argument("run")
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
