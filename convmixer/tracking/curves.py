"""Draws the learning curves of runs."""

from typing import TYPE_CHECKING

from convmixer.console import printable
from convmixer.tracking.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("loss", ("loss.train", "loss.valid")),
    ("accuracy", ("accuracy.train", "accuracy.valid")),
    ("learning rate", ("optim.lr",)),
    ("training images a second", ("time.images_per_second",)),
)


def learning_curves(runs: list[Run]) -> "Figure":
    """Draw loss, accuracy, learning rate and speed over the training images seen.

    Each run has its own colour; thin lines are of training, bold ones of validation.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flatten()
    colours = _colours(len(runs))
    for run, colour in zip(runs, colours, strict=True):
        metrics = run.metrics
        for axis, (_, names) in zip(axes, PANELS, strict=True):
            for name in (n for n in names if n in metrics):
                series = metrics[name].dropna()
                style = VALID if name.endswith(".valid") else TRAIN | {"marker": "." if len(series) < 3 else None}
                axis.plot(series.index, series, color=colour, label=name, **style)
    for axis, (title, _) in zip(axes, PANELS, strict=True):
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        names = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))  # one entry for each metric
        if len(names) > 1:
            axis.legend(names.values(), names.keys(), fontsize=8)
    figure.supxlabel("training images seen", fontsize=10)
    figure.suptitle(_title(runs), fontsize=10)
    if len(runs) > 1:
        lines = [figure.axes[0].plot([], [], color=colour)[0] for colour in colours]
        figure.legend(lines, [_title([r]) for r in runs], loc="outside right upper", fontsize=8)
    return figure


TRAIN = {"linewidth": 1, "alpha": 0.6}
VALID = {"linewidth": 2.2, "marker": "."}


def _title(runs: list[Run]) -> str:
    title = f"{runs[0].info['name']} {runs[0].uuid[:8]}" if len(runs) == 1 else f"{len(runs)} runs"
    return printable(title).replace("$", r"\$")  # a plain $ would begin a formula


def _colours(n: int) -> list[str] | list[tuple[float, ...]]:
    """Return `n` different colours: Matplotlib's ten, or more from a colour map."""
    from matplotlib import colormaps

    return [f"C{i}" for i in range(n)] if n <= 10 else list(colormaps["turbo"].resampled(n)(range(n)))
