"""The command `runs diff`."""

import sys
from typing import TYPE_CHECKING, Any

import click

from convmixer.commands import completion
from convmixer.commands.runs.terminal_curves import Curve, draw, frame_of
from convmixer.commands.tables import Column, print_table, terminal_width
from convmixer.console import as_argument, printable
from convmixer.errors import UserError

if TYPE_CHECKING:
    from convmixer.tracking.runs import Run

CURVES = ("accuracy.valid", "loss.valid", "accuracy.train", "loss.train")  # the metrics that are drawn
NARROWEST, WIDEST, HEIGHT = 30, 60, 8  # characters of a picture
PIPED = 120  # characters of a line where there is no terminal
RESULTS = ("accuracy.valid", "accuracy.test", "loss.test", "epochs", "seconds", "images_per_second", "parameters")
RESULTS += ("device", "kernels")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=completion.complete_run)
@click.option(
    "--metric", "metrics", multiple=True, help=f"Metric to draw, once for each; default: {', '.join(CURVES)}."
)
def diff(runs: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    """Compare runs: the configs that differ, the results, and the curves side by side.

    RUN is a uuid, the beginning of it, `last` or `best`. Values that stand beside each other are in the order of the
    runs on the command line. All curves of a metric have the same axes.
    """
    from convmixer.tracking.runs import differences, run

    found = [run(reference) for reference in runs]
    if len(found) < 2 or len({one.uuid for one in found}) < len(found):
        raise UserError("command line: runs diff compares two or more different runs")
    names = [one.uuid[:8] for one in found]
    keys = differences(found)
    if keys.empty:
        print("the configs are the same")
    else:
        print_table(_columns("config", names, {key: list(keys.loc[key]) for key in keys.index}, "none"))
    print()
    print_table(_columns("result", names, {name: _results(found, name) for name in ("status", "data", *RESULTS)}))
    for metric in metrics or CURVES:
        _draw(metric, found, is_asked_for=bool(metrics))


def _columns(title: str, names: list[str], rows: dict[str, list[Any]], missing: str = "-") -> list[Column]:
    rows = {name: values for name, values in rows.items() if any(map(_is_there, values))}
    cells = [[_text(values[i], missing) for values in rows.values()] for i in range(len(names))]
    columns = [Column(name, texts, wraps=True) for name, texts in zip(names, cells, strict=True)]
    return [Column(title, list(rows)), *columns]


def _results(found: "list[Run]", name: str) -> list[Any]:
    if name in ("status", "data"):
        return [getattr(one, name) for one in found]
    values = [one.summary.get(name) for one in found]
    return [f"{v:.2%}" if name.startswith("accuracy") and _is_there(v) else v for v in values]


def _is_there(value: Any) -> bool:
    return value is not None and value == value  # pandas writes NaN for what is missing


def _text(value: Any, missing: str) -> str:
    if not _is_there(value):
        return missing
    return f"{value:.5g}" if isinstance(value, float) else as_argument("", value)[1:]


def _draw(metric: str, found: "list[Run]", is_asked_for: bool) -> None:
    """Print the curves of one metric beside each other, as many in a line as fit."""
    curves = {one.uuid[:8]: _curve(one, metric) for one in found}
    if not any(curve.steps for curve in curves.values()):
        if is_asked_for:
            print(f"\n{printable(metric)}: none of the runs has recorded it")
        return
    frame = frame_of(list(curves.values()))
    line = terminal_width() or PIPED
    in_a_line = max(1, min(len(curves), (line + 2) // (NARROWEST + 2)))
    width = min(WIDEST, (line + 2) // in_a_line - 2)
    print(f"\n{printable(metric)} over {frame.last_step:,} training images")
    pictures = [[name, *draw(curve, frame, width, HEIGHT, _takes_braille())] for name, curve in curves.items()]
    for first in range(0, len(pictures), in_a_line):
        for parts in zip(*pictures[first : first + in_a_line], strict=True):
            print("  ".join(f"{part:<{width}}" for part in parts).rstrip())


def _curve(one: "Run", metric: str) -> Curve:
    points = {step: values[metric] for step, values in sorted(one.points.items()) if metric in values}
    return Curve(list(points), list(points.values()))


def _takes_braille() -> bool:
    try:
        "\u28ff".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
