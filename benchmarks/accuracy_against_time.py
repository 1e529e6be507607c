"""A picture of test accuracy against training time: our rows beside what others published.

    python -m benchmarks.accuracy_against_time [--output docs/accuracy-against-time.png]

Ours are the recipes of results/recipes.csv, means over seeds, on the data set and the hardware that they name. Others'
are those of results/published.csv, hardware as they say. Accuracies on CIFAR-10 can be compared; times on different
hardware can't.
"""

import argparse
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator, PercentFormatter
from matplotlib.transforms import Bbox

from benchmarks.recipes import TABLE
from benchmarks.tables import PROJECT, RESULTS

PUBLISHED = RESULTS / "published.csv"
DOT = 10  # pixels around a point that no label may cover
# Of a label: its distance from the point, and its alignment there.
PLACES = (
    ((0, -10), "center", "top"),
    ((0, 10), "center", "bottom"),
    ((-9, 0), "right", "center"),
    ((9, 0), "left", "center"),
)


def duration(minutes: float, _: int | None = None) -> str:
    """3 s, 20 min, 5 h."""
    if minutes < 1:
        return f"{60 * minutes:.3g} s"
    return f"{minutes:.3g} min" if minutes < 60 else f"{minutes / 60:.3g} h"


def points(axes: Axes, rows: pd.DataFrame, legend: str, **style) -> None:
    """A point for each row."""
    axes.scatter(rows["minutes"], rows["accuracy"], s=60, label=legend, zorder=3, **style)


def label(axes: Axes, rows: pd.DataFrame) -> None:
    """Write each row's label beside its point, at the first of `PLACES` where it covers no point and no other label."""
    axes.figure.draw_without_rendering()
    middles = axes.transData.transform(rows[["minutes", "accuracy"]])
    taken = [Bbox.from_bounds(x - DOT, y - DOT, 2 * DOT, 2 * DOT) for x, y in middles]
    for (_, row), dot in zip(rows.iterrows(), list(taken), strict=True):
        text = f"{row['label']}\n{row['accuracy']:.1%}, {duration(row['minutes'])}"
        for offset, horizontal, vertical in PLACES:
            written = axes.annotate(
                text,
                (row["minutes"], row["accuracy"]),
                xytext=offset,
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=8,
            )
            place = written.get_window_extent()
            if place.count_overlaps([box for box in taken if box is not dot]) == 0 and axes.bbox.contains(*place.p1):
                break
            if (offset, horizontal, vertical) != PLACES[-1]:
                written.remove()
        taken.append(place)


def picture(ours: pd.DataFrame, published: pd.DataFrame) -> plt.Figure:
    """Test accuracy over minutes, logarithmic."""
    figure, axes = plt.subplots(figsize=(10, 5.5), layout="constrained")
    for (data, rows), colour in zip(ours.groupby("data"), ("C0", "C9", "C2"), strict=False):
        points(axes, rows, f"ConvMixer lab, measured on {data}", color=colour)
    of_convmixer = published["network"].str.startswith("ConvMixer")
    for rows, who, style in (
        (published[of_convmixer], "ConvMixer", {"marker": "D"}),
        (published[~of_convmixer], "other networks", {"marker": "s"}),
    ):
        legend = f"{who}, published by others, official CIFAR-10"
        points(axes, rows, legend, facecolors="none", edgecolors="C3", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(duration))
    axes.yaxis.set_major_locator(MultipleLocator(0.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.margins(x=0.15, y=0.2)
    axes.set_xlabel("training time (on the hardware named)")
    axes.set_ylabel("test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    on_all = ours["command"].str.contains("data.validation=0", regex=False)
    ours = ours.assign(label=ours["recipe"] + on_all.map({True: " on all of train", False: ""}) + ", " + ours["device"])
    label(axes, pd.concat([ours, published.assign(label=published["who"] + ", " + published["hardware"])]))
    return figure


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean accuracy and the median time of the seeds of each command."""
    command = rows["command"].str.replace(r" seed=\d+", "", regex=True)
    same = rows.assign(command=command).groupby(["recipe", "data", "device", "command"], as_index=False)
    return same.agg({"accuracy": "mean", "minutes": "median"})


def main() -> None:
    """Draw and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PROJECT / "docs" / "accuracy-against-time.png")
    args = parser.parse_args()
    ours = over_seeds(pd.read_csv(TABLE).rename(columns={"test": "accuracy"}))
    picture(ours, pd.read_csv(PUBLISHED)).savefig(args.output, dpi=110)
    print(args.output)


if __name__ == "__main__":
    main()
