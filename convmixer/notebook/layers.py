"""Draws what `metrics=[norms,histograms]` recorded of a run's layers: norms over the training, and histograms.

from convmixer.notebook.layers import layer_histograms, layer_norms
layer_norms(run("last"))
layer_histograms(run("last"))
layer_histograms(run("last"), ["param.conv_mixer_layers.0.depth_wise_conv.weight"])
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convmixer.console import printable
from convmixer.errors import UserError
from convmixer.tracking.histograms import LAYER_KINDS, Histogram, is_of_layer, read_histograms
from convmixer.tracking.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NONE = "This run has no {}: train one with metrics=[norms,histograms]."
OF_A_KIND = 4  # histograms that are drawn of weights, of gradients and of activations
ROWS = 200  # of a picture of histograms
OUTSIDE = 0.002  # the share of values beyond each end of a picture: a few are far away
MOST_NAMED = 12  # lines of a panel that the legend names


def has_norms(run: Run) -> bool:
    """Return True if norms of the run's layers were recorded."""
    return any(map(is_of_layer, run.metrics))


def has_histograms(run: Run) -> bool:
    """Return True if histograms of the run's layers were recorded."""
    return bool(read_histograms(run.folder))


def layer_norms(run: Run) -> "Figure":
    """Draw the root mean square of each layer's weights, gradients and activations over the training images seen.

    Lines go from dark, the first layer, to bright, the last.

    Raises:
        UserError: no norms were recorded.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    table = run.metrics
    names = sorted(filter(is_of_layer, table), key=_by_layer)
    if not names:
        raise UserError(NONE.format("norms of layers"))
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    for axis, (kind, title) in zip(figure.subplots(1, len(LAYER_KINDS)), LAYER_KINDS.items(), strict=True):
        own = [name for name in names if name.startswith(f"{kind}.")]
        colours = colormaps["viridis"](np.linspace(0, 0.95, max(1, len(own))))
        for number, name in enumerate(own):
            is_named = len(own) <= MOST_NAMED or number in (0, len(own) - 1)
            label = printable(_short(name.removesuffix(".l2")).removeprefix(f"{kind} ")) if is_named else "_"
            series = table[name].dropna()
            axis.plot(series.index, series, color=colours[number], label=label, marker=".", linewidth=1)
        axis.set_title(f"{title}, root mean square", fontsize=10)
        axis.set_xlabel("training images seen", fontsize=9)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_yscale("log", nonpositive="mask")
        axis.grid(alpha=0.3)
        if own:
            axis.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))  # beside the lines
    return figure


def layer_histograms(run: Run, names: Sequence[str] = ()) -> "Figure":
    """Draw histograms over the training images seen: a column for each epoch's end, dark where many values are.

    Args:
        names: those to draw; none: `OF_A_KIND` of the weights, gradients and activations each, from the first layer to
            the last.

    Raises:
        UserError: no histograms were recorded, or none of such a name.
    """
    from matplotlib.figure import Figure

    found = read_histograms(run.folder)
    if not found:
        raise UserError(NONE.format("histograms"))
    unknown = [name for name in names if name not in found]
    if unknown:
        raise UserError(f"there is no histogram of {unknown[0]}, only of {', '.join(sorted(found, key=_by_layer))}")
    rows = [list(names)] if names else [_some(found, kind) for kind in LAYER_KINDS]
    rows = [row for row in rows if row]
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.8 * columns, 2.2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis in line[len(row) :]:
            axis.set_axis_off()
        for axis, name in zip(line, row, strict=False):
            _draw(axis, name, found[name])
    return figure


def _draw(axis: "Axes", name: str, over_time: Mapping[int, Histogram]) -> None:
    """Draw the density of a tensor's values, each column from 0 to its own largest."""
    from matplotlib.ticker import EngFormatter

    steps = sorted(over_time)
    points = [over_time[step] for step in steps]
    below = [np.append(0, np.cumsum(p.counts)) / sum(p.counts) for p in points]  # shares of values, at the edges
    ends = [np.interp((OUTSIDE, 1 - OUTSIDE), share, p.edges) for share, p in zip(below, points, strict=True)]
    edges = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), ROWS + 1)
    densities = [np.diff(np.interp(edges, p.edges, share)) for share, p in zip(below, points, strict=True)]
    picture = np.stack([density / (density.max() or 1.0) for density in densities], 1)
    before = steps[0] - (steps[1] - steps[0] if len(steps) > 1 else steps[0] or 1)
    axis.pcolormesh([before, *steps], edges, picture, cmap="Blues", rasterized=True)
    axis.set_title(printable(_short(name)), fontsize=7)
    axis.tick_params(labelsize=7)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def _some(found: Mapping[str, object], kind: str) -> list[str]:
    """Choose `OF_A_KIND` names of a kind, evenly spaced."""
    names = sorted((name for name in found if name.startswith(f"{kind}.")), key=_by_layer)
    places = np.linspace(0, len(names) - 1, min(OF_A_KIND, len(names))).round().astype(int)
    return [names[place] for place in places]


def _short(name: str) -> str:
    """Shorten a name for a picture: `param.conv_mixer_layers.3.norm.weight` to `param 3.norm`."""
    kind, _, rest = name.partition(".")
    return f"{kind} {rest.removeprefix('conv_mixer_layers.').removesuffix('.weight')}"


def _by_layer(name: str) -> tuple[int, list[tuple[int, str]]]:
    """Return what sorts names in the order of the network: the patch embedding, layers by number, the head."""
    rest = name.partition(".")[2]
    place = 0 if rest.startswith("patch_emb") else 2 if rest.startswith("classification") else 1
    parts = re.split(r"(\d{1,9})", name)
    return place, [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
