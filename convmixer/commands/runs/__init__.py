"""The command `runs` and its subcommands, one module for each."""

import click

from convmixer.commands.runs.diff import diff
from convmixer.commands.runs.export import export
from convmixer.commands.runs.list_ import list_
from convmixer.commands.runs.prune import prune
from convmixer.commands.runs.rm import rm
from convmixer.commands.runs.send import send
from convmixer.commands.runs.show import show
from convmixer.commands.shared import DefaultGroup


@click.group(
    cls=DefaultGroup,
    default="list",
    is_argument=lambda word: "=" in word or word.startswith("-"),
    epilog="Example: experiment.py runs data=cifar10 status=completed --sort accuracy.test. `runs list --help` has all "
    "options of the list.",
)
def runs() -> None:
    """List, show, compare and remove runs, send them to trackers and export them."""


for command in (list_, show, diff, rm, prune, send, export):
    runs.add_command(command)
