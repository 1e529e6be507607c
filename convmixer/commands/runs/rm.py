"""The command `runs rm`."""

import click

from convmixer.commands import completion
from convmixer.commands.runs.choosing import chosen
from convmixer.commands.runs.removing import YES, confirm, for_each
from convmixer.commands.tables import Column, print_table
from convmixer.console import counted, file_size


@click.command()
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="RUN|NAME=VALUE...",
    shell_complete=completion.complete_runs_and_filters,
)
@YES
def rm(words: tuple[str, ...], yes: bool) -> None:
    """Remove runs: their folders, with all that was recorded.

    RUN is a uuid, the beginning of it, `last` or `best`; NAME=VALUE chooses as for `runs list`. What would be removed
    is shown first. Runs that train now are left as they are.
    """
    from convmixer.tracking.removal import remove, size

    found = chosen(words)
    training = [one for one in found if one.known["status"] in ("running", "unknown")]
    removable = [one for one in found if one not in training]
    for one in training:
        print(f"run {one.known['run'][:8]} trains now, or may: it is left as it is")
    if not removable:
        print("nothing to remove")
        return
    sizes = {one: size(one.run.folder) for one in removable}
    print_table(
        [
            Column("run", [one.known["run"][:8] for one in removable]),
            Column("name", [one.known["name"] for one in removable], rank=2),
            Column("status", [one.known["status"] for one in removable], rank=1),
            Column("size", [file_size(sizes[one]) for one in removable]),
        ]
    )
    freed = file_size(sum(sizes.values()))
    confirm(f"Remove {counted(len(removable), 'run')}, which frees {freed}?", yes)
    for_each(removable, lambda one: remove(one.run))
    print(f"{counted(len(removable), 'run')} removed, {freed} freed")
