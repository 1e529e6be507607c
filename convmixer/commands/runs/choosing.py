"""The words that choose runs on a command line: uuids, their beginnings, `last`, `best`, and NAME=VALUE."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from convmixer.commands import completion
from convmixer.errors import UserError

if TYPE_CHECKING:
    from convmixer.tracking.facts import Facts

FILTERS = click.argument("filters", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=completion.complete_filters)


def read_filters(words: Sequence[str]) -> dict[str, str]:
    """Split `["data=cifar10"]` into `{"data": "cifar10"}`.

    Raises:
        UserError: a word is no NAME=VALUE, or a name is given twice.
    """
    filters: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UserError(f"command line: {word!r} is no filter, expected NAME=VALUE, as status=completed")
        if name in filters:
            raise UserError(f"command line: {name!r} is given twice; for either of two values: {name}=A,B")
        filters[name] = text
    return filters


def chosen(words: Sequence[str]) -> "list[Facts]":
    """Return the runs that the words name and that have all the given values; without a name, all with these values.

    Raises:
        UserError: there is no such run, or a name is not known.
    """
    from convmixer.tracking.facts import facts
    from convmixer.tracking.runs import all_runs, find
    from convmixer.tracking.selection import select

    references = [word for word in words if "=" not in word]
    named = {found.uuid: found for found in map(find, references)} if references else {r.uuid: r for r in all_runs()}
    return select([facts(found) for found in named.values()], read_filters([w for w in words if "=" in w]))
