"""The command `configs`, which lists every key with its value."""

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from convmixer.commands.shared import CONFIG, OVERRIDES, check_given, pass_configs
from convmixer.commands.tables import print_table


@click.command()
@OVERRIDES
@CONFIG
@pass_configs
def configs(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> None:
    """List all keys with their values and meanings.

    A * marks values that differ from the default.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.resolving import resolve

    keys = keys_of(configs_class)
    values = resolve(check_given(configs_class, overrides, config), keys)
    table = Table("key", "value", "default", "takes", "meaning", box=None, pad_edge=False)
    for name, key in keys.items():
        mark = "" if values[name] == key.default else " *"
        cells = (f"{_text(values[name])}{mark}", _text(key.default), key.expected(), key.knob.help)
        table.add_row(name, *cells)
    print_table(table)


def _text(value: Any) -> str:
    return "none" if value is None else str(value).replace("'", "").replace(", ", ",")
