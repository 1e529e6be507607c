"""The command `configs`, which lists every key with its value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from convmixer.commands import completion
from convmixer.commands.shared import CONFIG, OVERRIDES, check_given, pass_configs
from convmixer.commands.tables import Column, print_table
from convmixer.console import as_argument


@click.command()
@OVERRIDES
@CONFIG
@click.option(
    "--diff",
    "run",
    metavar="RUN",
    shell_complete=completion.complete_run,
    help="List only the keys that have another value in this run.",
)
@pass_configs
def configs(configs_class: type, overrides: tuple[str, ...], config: Path | None, run: str | None) -> None:
    """List all keys with their values and meanings.

    A * marks values that differ from the default.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.resolving import resolve

    keys = keys_of(configs_class)
    values = resolve(check_given(configs_class, overrides, config), keys)
    if run:
        defaults = {name: key.default for name, key in keys.items()}
        _print_differences(values, defaults, run)
        return
    marks = {name: "" if values[name] == key.default else " *" for name, key in keys.items()}
    print_table(
        [
            Column("key", list(keys)),
            Column("value", [f"{_text(values[name])}{mark}" for name, mark in marks.items()], wraps=True),
            Column("default", [_text(key.default) for key in keys.values()], rank=1, wraps=True),
            Column("takes", [key.expected() for key in keys.values()], rank=2, wraps=True),
            Column("meaning", [key.knob.help for key in keys.values()], wraps=True),
        ]
    )


def _print_differences(values: Mapping[str, Any], defaults: Mapping[str, Any], reference: str) -> None:
    """Print the keys whose values differ from those of a run, or that only one of the two has.

    A run of an older version lacks newer keys: they are left out where they have their defaults.
    """
    from convmixer.tracking.runs import run

    found = run(reference)
    recorded = {name: value for name, value in found.recorded.items() if name in values or name in found.given}
    names = [name for name in {**values, **recorded} if _of(values, name) != _of(defaults | recorded, name)]
    if not names:
        print(f"the same as in run {found.uuid[:8]}")
        return
    print_table(
        [
            Column("key", names),
            Column("here", [_of(values, name) for name in names], wraps=True),
            Column(found.uuid[:8], [_of(recorded, name) for name in names], wraps=True),
        ]
    )


def _of(values: Mapping[str, Any], name: str) -> str:
    return _text(values[name]) if name in values else "-"


def _text(value: Any) -> str:
    return as_argument("", value)[1:]
