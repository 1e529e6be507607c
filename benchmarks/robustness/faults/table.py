"""What became of faults, as a table: results/faults.csv."""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tables
from convmixer.experiment.summary import versions
from convmixer.training.hardware import cpu_name

NOTHING = "nothing"


@dataclass(frozen=True)
class Outcome:
    """Of one kind of fault.

    Attributes:
        problems: what was lost or went wrong, a line each; none is what is wanted.
        ended: how the runs ended.
        status: exit status of the process that met the fault.
        message: the line that it said.
    """

    tried: int
    problems: list[str]
    ended: str
    status: int
    message: str = ""

    def row(self, fault: str, without_names: Callable[[str], str], command: str) -> dict[str, str]:
        """As it stands in the table."""
        where = f"{cpu_name()}, 1 thread, " + ", ".join(f"{name} {number}" for name, number in versions().items())
        return {
            "fault": fault,
            "tried": str(self.tried),
            "lost": "; ".join(self.problems) or NOTHING,
            "status": str(self.status),
            "message": without_names(self.message),
            "ended": self.ended,
            "command": command,
            "date": time.strftime("%Y-%m-%d"),
            "where": where,
        }


def add_row(table: Path, row: dict[str, str]) -> None:
    """Put a row into the table, in place of one of the same command."""
    tables.put(table, [row], key=("command",))


def read_rows(table: Path) -> dict[str, dict[str, str]]:
    """The rows of the table, by command."""
    return {row["command"]: row for row in tables.read(table)}


def markdown(rows: Mapping[str, dict[str, str]], faults: Mapping[str, Callable]) -> str:
    """The table, as docs/faults.md shows it: in the order of `faults`, each in the first words of its docstring."""
    lines = ["| fault | tried | lost | how it ended | status | command |", "|---|---|---|---|---|---|"]
    for row in sorted(rows.values(), key=lambda row: list(faults).index(row["fault"])):
        what = inspect.getdoc(faults[row["fault"]]).partition("\n\n")[0].replace("\n", " ").rstrip(".")
        ended = row["ended"] + (f": `{row['message']}`" if row["message"] else "")
        command = row["command"].removeprefix("python -m benchmarks.robustness.faults ")
        lines.append(f"| {what} | {row['tried']} | {row['lost']} | {ended} | {row['status']} | `{command}` |")
    return "\n".join(lines)
