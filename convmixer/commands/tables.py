"""Tables for the terminal, as `configs` and `runs` print them."""

import sys

from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 300  # columns, where there is no terminal to ask


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal; where there is none, `PIPED_WIDTH` columns."""
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False).print(table)
