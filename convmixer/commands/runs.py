"""The command `runs list`, the default of `runs`; `send` and `export` have modules of their own."""

from typing import Any

import click
from rich.table import Table

from convmixer.commands.runs_export import export
from convmixer.commands.runs_send import send
from convmixer.commands.shared import DefaultGroup
from convmixer.commands.tables import print_table
from convmixer.console import printable
from convmixer.project import logs_folder

OTHERS = ("list", "send", "export")


@click.group(cls=DefaultGroup, default="list", is_argument=lambda word: word not in OTHERS)
def runs() -> None:
    """List all runs, send one to a tracker, or export its metrics."""


@runs.command(name="list")
def list_() -> None:
    """List all runs, oldest first (the default command)."""
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


for command in (send, export):
    runs.add_command(command)
