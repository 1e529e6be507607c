"""Prints the tables of `configs` and `runs`."""

import sys

from rich.table import Table

from convmixer.console import Console

PIPED_WIDTH = 1000  # columns, where there is no terminal to ask: rows are never broken there


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal; without a terminal, `PIPED_WIDTH` characters wide."""
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False).print(table)
