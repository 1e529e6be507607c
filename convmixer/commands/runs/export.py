"""The command `runs export`."""

from pathlib import Path

import click

from convmixer.commands.shared import RUN
from convmixer.errors import UserError


@click.command()
@RUN
@click.option("--csv", metavar="FILE", help="A row for each step, a column for each metric; - is standard output.")
@click.option("--json", metavar="FILE", help="The same, with configs and summary; - is standard output.")
@click.option("--parquet", metavar="FILE", type=click.Path(path_type=Path), help="The same as --json, in columns.")
def export(run: str, csv: str | None, json: str | None, parquet: Path | None) -> None:
    """Write what was recorded of RUN to a file.

    RUN is its uuid, the beginning of it, `last` or `best`. It may still be training.
    """
    from convmixer.tracking import run_export
    from convmixer.tracking.runs import run as find_run

    given = {"--csv": csv, "--json": json, "--parquet": parquet}
    if not any(given.values()):
        raise UserError("command line: runs export needs --csv FILE, --json FILE or --parquet FILE")
    found = find_run(run)
    for option, path in given.items():
        if path:
            run_export.WRITERS[option](found, path, option)
