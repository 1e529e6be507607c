"""Prints tables that fit the terminal and never cut a name: less important columns are left out instead."""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from convmixer.console import printable, rich_console

GAP = 2  # blanks between two columns
NARROWEST = 20  # characters of a column of long text


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        cells: its text in each row.
        rank: columns of a higher rank are left out first where there is too little room; 0: never left out.
        wraps: long text, which is broken into lines; other text stays on one line.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0
    wraps: bool = False

    @property
    def least(self) -> int:
        """The fewest characters that it needs."""
        from rich.cells import cell_len

        longest = max(map(cell_len, [self.title, *self.cells]))
        return min(longest, NARROWEST) if self.wraps else longest


def print_table(columns: Sequence[Column]) -> None:
    """Print a table as wide as the terminal. Without a terminal, and without COLUMNS, lines are never broken.

    Where not even the columns of rank 0 fit beside each other, they stand below each other.
    """
    columns = [Column(c.title, [printable(cell) for cell in c.cells], c.rank, c.wraps) for c in columns]
    width = terminal_width()
    shown = fitting(columns, width)
    if width is not None and least_width(shown) > width:
        _print_below_each_other(shown, width)
    else:
        _print_beside_each_other(shown, width)
    left_out = [column.title for column in columns if column not in shown]
    if left_out:
        print(textwrap.fill(f"(too narrow for: {', '.join(left_out)})", width))


def terminal_width() -> int | None:
    """Return the number of characters in a line: COLUMNS, or the terminal's; None where there is no limit."""
    if os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty():
        return max(shutil.get_terminal_size().columns, 10)
    return None


def fitting(columns: Sequence[Column], width: int | None) -> list[Column]:
    """Return the columns that fit beside each other, in their order."""
    shown = list(columns)
    while width is not None and least_width(shown) > width and any(column.rank for column in shown):
        shown.remove(max(shown, key=lambda column: column.rank))
    return shown


def least_width(columns: Sequence[Column]) -> int:
    """Return the fewest characters that the columns need beside each other."""
    return sum(column.least for column in columns) + GAP * (len(columns) - 1)


def _print_beside_each_other(columns: Sequence[Column], width: int | None) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold" if sys.stdout.isatty() else "")
    for column in columns:
        table.add_column(column.title, min_width=column.least, no_wrap=not column.wraps, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    everything = GAP * len(columns) + sum(_longest(column) for column in columns)
    console = rich_console(width=width or everything, markup=False, emoji=False, highlight=False)
    with console.capture() as written:
        console.print(table)
    for line in written.get().splitlines():
        print(line.rstrip())


def _longest(column: Column) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, [column.title, *column.cells]))


def _print_below_each_other(columns: Sequence[Column], width: int) -> None:
    for row in zip(*(column.cells for column in columns), strict=True):
        for column, cell in zip(columns, row, strict=True):
            is_first = column is columns[0]
            text = cell if is_first else f"{column.title}: {cell}"
            if is_first or len(text) <= width - 4:
                print(text if is_first else f"    {text}")
            else:
                print(textwrap.fill(text, max(width, 20), initial_indent="    ", subsequent_indent="      "))
