"""Learning curves of runs as a picture."""

from typing import TYPE_CHECKING

from convmixer.tracking.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("loss", ("loss.train", "loss.valid")),
    ("accuracy", ("accuracy.train", "accuracy.valid")),
    ("learning rate", ("optim.lr",)),
)


def learning_curves(runs: list[Run]) -> "Figure":
    """Loss, accuracy and learning rate over the training images seen: one colour a run, train thin, valid bold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for number, run in enumerate(runs):
        metrics = run.metrics
        for axis, (title, names) in zip(axes, PANELS, strict=True):
            axis.set(title=title, xlabel="training images seen")
            axis.grid(alpha=0.3)
            for name in (n for n in names if n in metrics):
                series = metrics[name].dropna()
                bold = name.endswith(".valid")
                label = f"{run.uuid[:8]} {name}" if len(runs) > 1 else name
                axis.plot(
                    series.index,
                    series,
                    color=f"C{number}",
                    label=label,
                    linewidth=2.2 if bold else 1,
                    alpha=1 if bold else 0.6,
                    marker="." if bold else None,
                )
            axis.legend(fontsize=8)
    figure.suptitle(" | ".join(f"{r.info['name']} {r.uuid[:8]}" for r in runs), fontsize=10)
    return figure
