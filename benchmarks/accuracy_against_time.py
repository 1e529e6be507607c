"""A picture of test accuracy against training time: our rows beside what others published.

    python -m benchmarks.accuracy_against_time [--output docs/accuracy-against-time.png]

Ours are the rows of results/recipes.csv, on the data set and the hardware that they name. Others' are those of
results/published.csv, on the official CIFAR-10, hardware as they say: times on different hardware, and accuracies on
`cifar10-jpeg` and the official images, stand side by side without being comparable.
"""

import argparse
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from benchmarks.recipes import TABLE

PROJECT = TABLE.parents[1]
PUBLISHED = TABLE.with_name("published.csv")


def duration(minutes: float, _: int | None = None) -> str:
    """3 s, 20 min, 5 h."""
    if minutes < 1:
        return f"{60 * minutes:.3g} s"
    return f"{minutes:.3g} min" if minutes < 60 else f"{minutes / 60:.3g} h"


def points(axes: Axes, rows: pd.DataFrame, labels: pd.Series, legend: str, **style) -> None:
    """A point for each row, with its label below."""
    axes.scatter(rows["minutes"], rows["accuracy"], s=60, label=legend, zorder=3, **style)
    for (_, row), label in zip(rows.iterrows(), labels, strict=True):
        axes.annotate(
            f"{label}\n{row['accuracy']:.1%}, {duration(row['minutes'])}",
            (row["minutes"], row["accuracy"]),
            xytext=(0, -10),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
        )


def picture(ours: pd.DataFrame, published: pd.DataFrame) -> plt.Figure:
    """Test accuracy over minutes, logarithmic."""
    figure, axes = plt.subplots(figsize=(10, 5.5), layout="constrained")
    for data, rows in ours.groupby("data"):
        labels = rows["recipe"] + ", " + rows["device"]
        points(axes, rows, labels, f"ConvMixer lab, measured on {data}", color="C0")
    of_convmixer = published["network"].str.startswith("ConvMixer")
    for rows, who, style in (
        (published[of_convmixer], "ConvMixer", {"marker": "D"}),
        (published[~of_convmixer], "other networks", {"marker": "s"}),
    ):
        labels = rows["who"] + ", " + rows["hardware"]
        legend = f"{who}, published by others, official CIFAR-10"
        points(axes, rows, labels, legend, facecolors="none", edgecolors="C3", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(duration))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.margins(x=0.15, y=0.2)
    axes.set_xlabel("training time (on the hardware named)")
    axes.set_ylabel("test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    return figure


def main() -> None:
    """Draw and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PROJECT / "docs" / "accuracy-against-time.png")
    args = parser.parse_args()
    ours = pd.read_csv(TABLE).rename(columns={"test": "accuracy"})
    picture(ours, pd.read_csv(PUBLISHED)).savefig(args.output, dpi=110)
    print(args.output)


if __name__ == "__main__":
    main()
