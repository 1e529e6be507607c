"""Draws the learning curves of runs."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convmixer.console import printable
from convmixer.errors import UserError
from convmixer.files.untrusted import is_number
from convmixer.tracking.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Summary = Mapping[str, Any]

PANELS = (
    ("loss", ("loss.train", "loss.valid", "loss.test")),
    ("accuracy", ("accuracy.train", "accuracy.valid", "accuracy.test")),
    ("learning rate", ("optim.lr", "optim.muon_lr")),
    ("training images per second", ("time.images_per_second",)),
)
TRAIN = {"linewidth": 1, "alpha": 0.6}
VALID = {"linewidth": 2.2, "marker": "."}
TEST = {"linestyle": "none", "marker": "*", "markersize": 11, "markeredgecolor": "black", "zorder": 3}
MUON = {"linewidth": 1.4, "linestyle": "--"}
NEAR = 0.01  # epochs are shown for runs whose epochs are of the same size within this share


def learning_curves(runs: Sequence[Run], summaries: Sequence[Summary] | None = None) -> "Figure":
    """Draw loss, accuracy, learning rates and speed over the training images seen, and epochs above.

    Each run has its own colour; thin lines are of training, bold ones of validation, stars of the test at the end.

    Args:
        runs: what is drawn.
        summaries: the results of each run; None: those in its folder.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    summaries = summaries or [_summary(run) for run in runs]
    metrics = [run.metrics for run in runs]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flatten()
    colours = _colours(len(runs))
    for axis, (title, names) in zip(axes, PANELS, strict=True):
        for table, summary, colour in zip(metrics, summaries, colours, strict=True):
            for name in names:
                _draw(axis, name, table, summary, colour)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        lines = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))  # one entry for each metric
        if len(lines) > 1:
            axis.legend(lines.values(), lines.keys(), fontsize=8)
    _show_epochs(axes[:2], metrics, summaries)
    for axis in axes[2:]:
        axis.set_xlabel("training images seen", fontsize=9)
    titles = [_title(run, summary) for run, summary in zip(runs, summaries, strict=True)]
    figure.suptitle(titles[0] if len(runs) == 1 else f"{len(runs)} runs", fontsize=10)
    if len(runs) > 1:
        lines = [figure.axes[0].plot([], [], color=colour)[0] for colour in colours]
        figure.legend(lines, titles, loc="outside lower center", ncols=min(len(runs), 3), fontsize=8)
    return figure


def _draw(axis: "Axes", name: str, table: "pd.DataFrame", summary: Summary, colour: Any) -> None:
    """Draw a metric of a run, if it has it; of the test, which is made once, a point at the end."""
    if name.endswith(".test"):
        if (value := _number(summary, name)) and (images := _number(summary, "images")):
            axis.plot([images], [value], color=colour, label=name, **TEST)
    elif name in table:
        series = table[name].dropna()
        style = VALID if name.endswith(".valid") else MUON if name == "optim.muon_lr" else TRAIN
        marker = {"marker": "."} if len(series) < 3 else {}
        axis.plot(series.index, series, color=colour, label=name, **style | marker)


def _show_epochs(axes: Sequence["Axes"], metrics: Sequence["pd.DataFrame"], summaries: Sequence[Summary]) -> None:
    """Show epochs above the axes, where an epoch of all runs has the same number of images."""
    sizes = [_epoch_size(table, summary) for table, summary in zip(metrics, summaries, strict=True)]
    smallest, size = min(sizes, default=0), max(sizes, default=0)
    if smallest <= 0 or size / smallest > 1 + NEAR:
        return
    for axis in axes:
        epochs = axis.secondary_xaxis("top", functions=(lambda images: images / size, lambda epochs: epochs * size))
        epochs.set_xlabel("epochs", fontsize=8)
        epochs.tick_params(labelsize=8)


def _epoch_size(table: "pd.DataFrame", summary: Summary) -> float:
    """Return the number of images of an epoch; 0 where that is not known yet."""
    epochs, images = _number(summary, "epochs"), _number(summary, "images")
    if epochs and images:
        return images / epochs
    return float(table["loss.valid"].first_valid_index() or 0) if "loss.valid" in table else 0.0


def _summary(run: Run) -> Summary:
    try:
        return run.summary
    except UserError:  # damaged; the curves are drawn without it
        return {}


def _number(summary: Summary, name: str) -> float:
    """Return a result, or 0 where the summary has no such finite number."""
    value = summary.get(name)
    return float(value) if is_number(value) and math.isfinite(value) else 0.0


def _title(run: Run, summary: Summary) -> str:
    tested = _number(summary, "accuracy.test")
    title = f"{run.info['name']} {run.uuid[:8]}" + (f": {tested:.2%} test accuracy" if tested else "")
    return printable(title).replace("$", r"\$")  # a plain $ would begin a formula


def _colours(n: int) -> list[str] | list[tuple[float, ...]]:
    """Return `n` different colours: Matplotlib's ten, or more from a colour map."""
    from matplotlib import colormaps

    return [f"C{i}" for i in range(n)] if n <= 10 else list(colormaps["turbo"].resampled(n)(range(n)))
