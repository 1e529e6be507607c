"""The command `runs list`, the default of `runs`."""

import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from convmixer.commands.runs.choosing import FILTERS, read_filters
from convmixer.commands.tables import Column, print_table
from convmixer.console import as_argument, as_arguments, printable
from convmixer.errors import UserError
from convmixer.project import logs_folder

if TYPE_CHECKING:
    from convmixer.tracking.facts import Facts


@click.command("list")
@FILTERS
@click.option(
    "--sort", metavar="NAME", help="Sort by a column, a key or a metric, the highest accuracy first; default: by age."
)
@click.option("--reverse", is_flag=True, help="In the opposite order.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known as JSON.")
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print everything that is known as CSV, with a column for each given key."
)
def list_(filters: tuple[str, ...], sort: str | None, reverse: bool, as_json: bool, as_csv: bool) -> None:
    """List runs, oldest first (the default command).

    NAME=VALUE keeps those with that value of a column, a key or a metric: data=cifar10 status=completed,interrupted
    d_model=128. Of a run that has not ended, epochs are those so far, and valid is the highest so far.
    """
    from convmixer.tracking import selection
    from convmixer.tracking.facts import facts
    from convmixer.tracking.runs import all_runs

    if as_json and as_csv:
        raise UserError("command line: --json and --csv exclude each other: give only one of them")
    there = [facts(run) for run in all_runs()]
    found = selection.select(there, read_filters(filters))
    found = selection.sort(found, sort) if sort else found
    found = found[::-1] if reverse else found
    if as_json:
        print(json.dumps([_complete(one) for one in found], indent=1))
    elif as_csv:
        _print_csv(found)
    elif found:
        print_table(_columns(found, sort))
    else:
        print(f"none of {len(there)} runs: {' '.join(filters)}" if there else f"there are no runs in {logs_folder()}")


def _complete(one: "Facts") -> dict[str, Any]:
    """Return a run's fields, and its results."""
    return one.known if one.is_damaged else one.known | {"results": one.run.summary or None}


def _print_csv(found: "Sequence[Facts]") -> None:
    keys = sorted({key for one in found for key in one.known["given"] or {}})
    fields = [name for name in found[0].known if name not in ("given", "own")] if found else []
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow([*fields, *(f"config.{key}" for key in keys)])
    for one in found:
        recorded = {} if one.is_damaged else one.run.recorded
        rows.writerow([*(_cell(one.known[name]) for name in fields), *(_cell(recorded.get(key)) for key in keys)])


def _cell(value: Any) -> str:
    """Return the value as it can be given on the command line; nothing for none."""
    return "" if value is None else printable(as_argument("", value)[1:])


def _columns(found: "Sequence[Facts]", sort: str | None) -> list[Column]:
    """Return the columns of the table; those without any value are left out, and what it is sorted by is added."""
    columns = [
        Column("run", [one.known["run"][:8] for one in found]),
        Column("name", [one.known["name"] for one in found], rank=7),
        Column("date", [one.known["date"] or "-" for one in found], rank=8),
        Column("status", [one.known["status"] for one in found]),
        Column("data", [one.known["data"] or "-" for one in found], rank=2),
        Column("epochs", [_epochs(one) for one in found], rank=3),
        Column("valid", [_percent(one.known["accuracy.valid"]) for one in found]),
        Column("test", [_percent(one.known["accuracy.test"]) for one in found]),
        Column("script", [_script(one) for one in found], rank=5),
        Column("sweep", [one.known["sweep"] or "-" for one in found], rank=6),
        Column("given", [_given(one) for one in found], rank=4, wraps=True),
    ]
    columns = [c for c in columns if c.title not in ("script", "sweep") or set(c.cells) != {"-"}]
    if sort and sort not in ("run", "given", "accuracy.valid", "accuracy.test", *(c.title for c in columns)):
        columns.insert(-1, Column(sort, [_value(one.value(sort)) for one in found]))
    return columns


def _epochs(one: "Facts") -> str:
    """Return the epochs so far, of a run that has not ended also those it is to have: `3.4/22`."""
    done, total = one.known["epochs_done"], one.known["epochs_total"]
    if done is None:
        return "-"
    so_far = [done] if one.known["status"] == "completed" or total is None else [done, total]
    return "/".join(f"{epochs:.3g}" if epochs < 1000 else f"{epochs:,.0f}" for epochs in so_far)


def _script(one: "Facts") -> str:
    return " ".join(filter(None, [one.known["script"], as_arguments(one.known["own"])])) or "-"


def _given(one: "Facts") -> str:
    """Return the given keys as they were typed; those of one's own script are in the column before."""
    own = one.known["own"] or {}
    return one.known["problem"] or as_arguments({k: v for k, v in (one.known["given"] or {}).items() if k not in own})


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.2%}"


def _value(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else _cell(value)
