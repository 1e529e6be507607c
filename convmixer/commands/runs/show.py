"""The command `runs show`."""

import json
from typing import TYPE_CHECKING, Any

import click

from convmixer.commands.shared import RUN
from convmixer.commands.tables import Column, print_table
from convmixer.console import as_argument, as_arguments, counted, duration, file_size, printable
from convmixer.files.untrusted import is_number

if TYPE_CHECKING:
    from convmixer.tracking.facts import Facts
    from convmixer.tracking.recorded_run import Run


@click.command()
@RUN
@click.option("--all", "everything", is_flag=True, help="List all keys, not only those that were given.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known as JSON, with all keys.")
def show(run: str, everything: bool, as_json: bool) -> None:
    """Show a run: its configs, its results, and the command that repeats it.

    RUN is its uuid, the beginning of it, `last` or `best`.
    """
    from convmixer.tracking.facts import facts
    from convmixer.tracking.repeating import command_of
    from convmixer.tracking.runs import run as find_run

    found = find_run(run)
    one = facts(found)
    command = command_of(found)
    if as_json:
        complete = one.known | {"configs": found.recorded, "command": command, "results": found.summary or None}
        print(json.dumps(complete, indent=1))
        return
    for name, text in [*_about(one), *_results(found.summary), ("repeat", command)]:
        print(f"{name:<15} {printable(text)}")
    values = found.recorded if everything else found.given
    if values:
        print()
        print_table(_configs(values, found.given if everything else None))


def _about(one: "Facts") -> list[tuple[str, str]]:
    known, run = one.known, one.run
    lines = [
        ("run", known["run"]),
        ("folder", known["folder"]),
        ("name", known["name"]),
        ("comment", known["comment"]),
        ("began", known["date"]),
        ("status", known["status"]),
        ("script", known["script"]),
        ("own", as_arguments(known["own"])),
        ("sweep", known["sweep"]),
        ("code", _code(run)),
        ("data", known["data"]),
        ("epochs", _epochs(known)),
        ("checkpoints", _checkpoints(run)),
    ]
    return [(name, text) for name, text in lines if text]


def _code(run: "Run") -> str:
    commit = run.info["commit"]
    changed = ", with changes that were not committed (source.diff)" if run.info["is_dirty"] else ""
    return "" if commit in ("", "unknown") else f"commit {commit[:10]}{changed}"


def _epochs(known: dict[str, Any]) -> str:
    done, total = known["epochs_done"], known["epochs_total"]
    return "" if done is None else f"{done:.4g}" + (f" of {total:.4g}" if total and done < total else "")


def _checkpoints(run: "Run") -> str:
    files = sorted(run.checkpoint("last").parent.glob("*.pt"))
    return ", ".join(f"{file.name} {file_size(file.stat().st_size)}" for file in files)


def _results(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the results of a run that has ended; summaries of older versions have fewer."""
    accuracies = [(name, f"{v:.2%}") for name, v in summary.items() if name.startswith("accuracy.") and is_number(v)]
    losses = [(name, f"{v:.4f}") for name, v in summary.items() if name.startswith("loss.") and is_number(v)]
    lines = [("weights", summary.get("weights"))] if "weights" in summary else []
    if is_number(summary.get("seconds")):
        lines += [("training time", duration(summary["seconds"]))]
    if is_number(summary.get("images_per_second")):
        lines += [("speed", f"{summary['images_per_second']:,.0f} images/s")]
    if is_number(summary.get("parameters")):
        lines += [("network", counted(summary["parameters"], "parameter"))]
    lines += [(name, summary[name]) for name in ("device", "precision", "kernels", "ended") if name in summary]
    versions = summary.get("versions")
    if isinstance(versions, dict):
        lines += [("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))]
    return [(name, str(text)) for name, text in accuracies + losses + lines]


def _configs(values: dict[str, Any], given: dict[str, Any] | None) -> list[Column]:
    """Return the keys and their values, and which are among the `given` ones, unless that is None."""
    names = [name for name, value in values.items() if "\n" not in str(value)]  # no objects that were set in code
    columns = [
        Column("key", names),
        Column("value", [as_argument(name, values[name]).partition("=")[2] for name in names], wraps=True),
    ]
    if given is not None:
        columns += [Column("given", ["yes" if name in given else "" for name in names], rank=1)]
    return columns
