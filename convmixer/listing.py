"""Tables for the terminal: all keys, all runs."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from convmixer.console import printable
from convmixer.tracking import runs

if TYPE_CHECKING:
    from convmixer.configs import Configs

PIPED_WIDTH = 300  # columns, where there is no terminal to ask


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def list_configs(configs_class: "type[Configs]", given: Mapping[str, Any]) -> None:
    """Print every key: what it is with `given` (marked * where that is not the default), and what it takes."""
    from convmixer.configs import resolve
    from convmixer.keys import keys_of

    keys = keys_of(configs_class)
    values = resolve(given, keys)
    table = Table("key", "value", "default", "takes", "meaning", box=None, pad_edge=False)
    for name, key in keys.items():
        mark = "" if values[name] == key.default else " *"
        cells = (f"{_text(values[name])}{mark}", _text(key.default), key.expected(), key.knob.help)
        table.add_row(name, *cells)
    _console().print(table, markup=False)


def list_runs() -> None:
    """Print all runs, oldest first."""
    table = Table(box=None, pad_edge=False)
    rows = runs.runs()
    for column in rows.columns:
        table.add_column(column)
    for row in rows.itertuples(index=False):
        table.add_row(*(_cell(name, value) for name, value in zip(rows.columns, row, strict=True)))
    if rows.empty:
        print(f"there are no runs in {runs.logs_folder()}")
        return
    _console().print(table, markup=False)


def _cell(column: str, value: Any) -> str:
    if value is None or value != value:  # NaN, as pandas writes what is missing
        return "-"
    if column in ("valid", "test"):
        return f"{value:.2%}"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def _text(value: Any) -> str:
    return "none" if value is None else str(value).replace("'", "").replace(", ", ",")
