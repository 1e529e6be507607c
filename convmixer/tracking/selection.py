"""Chooses runs by what is known of them: `data=cifar10 status=completed`, and sorts them."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convmixer.console import as_argument, shortened
from convmixer.errors import UserError
from convmixer.tracking.facts import Facts


def select(found: Sequence[Facts], filters: Mapping[str, str]) -> list[Facts]:
    """Return the runs that have all these values.

    Args:
        filters: text for each field, key, metric or result; `a,b` is either of two.

    Raises:
        UserError: no run has anything of that name.
    """
    check_names(found, filters)
    return [facts for facts in found if all(_has(facts.value(name), text) for name, text in filters.items())]


def sort(found: Sequence[Facts], name: str) -> list[Facts]:
    """Sort runs by a value, the highest accuracy first, else the lowest value; runs without one are last.

    Raises:
        UserError: no run has anything of that name.
    """
    check_names(found, [name])
    values = {facts: facts.value(name) for facts in found}
    is_number = {facts: isinstance(value, int | float) and value == value for facts, value in values.items()}
    numbers = sorted((f for f in found if is_number[f]), key=values.__getitem__, reverse=_is_accuracy(name))
    texts = sorted((f for f in found if not is_number[f] and values[f] is not None), key=lambda f: str(values[f]))
    return [*numbers, *texts, *(f for f in found if values[f] is None)]


def _is_accuracy(name: str) -> bool:
    return name in ("valid", "test") or name.startswith("accuracy")


def check_names(found: Sequence[Facts], names: Iterable[str]) -> None:
    """Check that runs have something of each name.

    Raises:
        UserError: there are runs, and none has it.
    """
    for name in names:
        if found and not any(facts.has(name) for facts in found):
            known = {name for facts in found for name in facts.names()}
            near = difflib.get_close_matches(name[:100], known, n=1)
            hint = f"did you mean {near[0]}?" if near else "expected a column of `runs`, a key or a metric"
            raise UserError(f"command line: no run has {shortened(name)}; {hint}")


def _has(value: Any, text: str) -> bool:
    """Return True if `text` gives this value on the command line, or is a list of values with it among them."""
    choices = [text] if text.startswith("[") else text.split(",")
    return any(_is_same(value, choice.strip()) for choice in choices)


def _is_same(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, int | float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return as_argument("", value) == f"={text.replace(' ', '')}" or str(value) == text
