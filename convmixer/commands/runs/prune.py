"""The command `runs prune`."""

import click

from convmixer.commands import completion
from convmixer.commands.runs.choosing import chosen
from convmixer.commands.runs.removing import YES, confirm, for_each
from convmixer.commands.tables import Column, print_table
from convmixer.console import counted, file_size


@click.command()
@click.argument("words", nargs=-1, metavar="[RUN|NAME=VALUE]...", shell_complete=completion.complete_runs_and_filters)
@click.option(
    "--all",
    "also_tested",
    is_flag=True,
    help="Also remove the tested weights: the runs can't be evaluated, predicted with or exported any more.",
)
@YES
def prune(words: tuple[str, ...], also_tested: bool, yes: bool) -> None:
    """Remove checkpoints that are no longer needed, of runs that have ended.

    The tested weights, curves, logs and results are kept. Without RUN or NAME=VALUE, of all runs that have ended. What
    would be removed is shown first. Runs that train now, and those that can be resumed, are left as they are.
    """
    from convmixer.tracking import removal

    ended = [one for one in chosen(words) if one.known["status"] == "completed"]
    files = {one: removal.spare_checkpoints(one.run, also_tested) for one in ended}
    files = {one: spare for one, spare in files.items() if spare}
    if not files:
        print(f"nothing to remove: no checkpoint of {counted(len(ended), 'ended run')} is spare")
        return
    sizes = [sum(map(removal.size, spare)) for spare in files.values()]
    print_table(
        [
            Column("run", [one.known["run"][:8] for one in files]),
            Column("name", [one.known["name"] for one in files], rank=1),
            Column("checkpoints", [" ".join(file.name for file in spare) for spare in files.values()], wraps=True),
            Column("size", list(map(file_size, sizes))),
        ]
    )
    freed = file_size(sum(sizes))
    confirm(f"Remove these checkpoints, which frees {freed}?", yes)
    for_each(files, lambda one: removal.prune(one.run, files[one]))
    print(f"checkpoints of {counted(len(files), 'run')} removed, {freed} freed")
