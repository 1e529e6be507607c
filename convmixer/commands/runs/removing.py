"""Asks before something is removed, and removes it from each of several runs."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from convmixer.errors import SomeFailed, UserError

if TYPE_CHECKING:
    from convmixer.tracking.facts import Facts

YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def confirm(question: str, yes: bool) -> None:
    """Ask on the terminal, unless `yes`.

    Raises:
        UserError: the answer is no, or there is none.
    """
    try:
        agreed = yes or click.confirm(question)
    except click.Abort:
        print()
        agreed = False
    if not agreed:
        raise UserError("nothing was removed; --yes removes without asking")


def for_each(found: "Iterable[Facts]", remove: "Callable[[Facts], None]") -> None:
    """Call `remove` for each run; one that fails does not keep the others.

    Raises:
        SomeFailed: for some of them it failed; the message is that of the first.
    """
    problems = []
    for one in found:
        try:
            remove(one)
        except UserError as problem:
            problems.append(str(problem))
    if problems:
        raise SomeFailed(problems[0] + (f"; {len(problems) - 1} more" if problems[1:] else ""))
