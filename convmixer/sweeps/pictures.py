"""Draws a sweep: for the report's page with plotly, as PNG files with Matplotlib."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from convmixer.files.atomic import written_whole
from convmixer.sweeps.importance import evaluator

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PLOTS = {
    "history": "plot_optimization_history",
    "importance": "plot_param_importances",
    "parallel": "plot_parallel_coordinate",
    "slices": "plot_slice",
    "epochs": "plot_intermediate_values",
}
MOST_TICKS = 8
UNUSED = "not used"  # a key whose condition does not hold


def titles(metric: str) -> dict[str, str]:
    """Return the title of each plot."""
    return {
        "history": f"History: {metric} of every trial, and the best so far",
        "importance": f"Importance of each key for {metric}",
        "parallel": f"Parallel coordinates: which values lead to which {metric}",
        "slices": f"Slices: {metric} against each key",
        "epochs": f"{metric} by epoch",
    }


def figures(study: optuna.Study) -> Iterator[tuple[str, "Figure | None"]]:
    """Yield the title and the plotly figure of each plot; None where there are too few complete trials."""
    import optuna.visualization as drawing

    metric = study.user_attrs["settings"]["objective"]
    for name, title in titles(metric).items():
        draw = partial(getattr(drawing, PLOTS[name]), study, **_options(name, metric))
        figure = _drawn(partial(_parallel, study, metric) if name == "parallel" else draw)
        if figure is not None:
            _tidy(name, figure, metric)
        yield title, figure


def _options(plot: str, metric: str) -> dict[str, Any]:
    if plot == "epochs":
        return {}
    return {"evaluator": evaluator()} if plot == "importance" else {"target_name": metric}


def _drawn(draw: Callable[[], Any]) -> Any:
    """A figure, or none where Optuna says that the trials are too few or all alike."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental calls, axes with a single value
            return draw()
    except (ValueError, RuntimeError, ZeroDivisionError, IndexError):
        return None


def _tidy(name: str, figure: "Figure", metric: str) -> None:
    """Name the axes by what is on them, and give whole numbers whole ticks."""
    figure.update_layout(title=None, margin={"t": 30}, width=None, autosize=True)
    if name == "importance":
        figure.update_layout(xaxis_title="share in what decides", yaxis_title=None)
        figure.update_traces(name=metric)
    if name == "history":
        figure.update_layout(xaxis_title="trial")
    if name == "epochs":
        epochs = max((max(trace.x, default=1) for trace in figure.data if trace.x is not None), default=1)
        figure.update_layout(xaxis_title="epoch", yaxis_title=metric, xaxis_dtick=math.ceil(epochs / 10))
        figure.for_each_trace(lambda trace: trace.update(name=trace.name.replace("Trial", "trial ")))
    if name == "slices":
        for trace in figure.data:
            values = [value.strip("'") if isinstance(value, str) else value for value in trace.x]
            trace.update(x=values)
            axis = figure.layout["xaxis" + (trace.xaxis or "x")[1:]]  # plotly's name of the axis x2 is xaxis2
            if all(isinstance(value, int) for value in values):
                axis.update(tickvals=ticks(values), minor={"ticks": ""})


def _parallel(study: optuna.Study, metric: str) -> "Figure":
    """Draw a line for each complete trial, through its metric and its value of each key; lines can be brushed."""
    from plotly.graph_objects import Figure, Parcoords

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < 2:
        raise ValueError("too few")
    distributions = {name: d for trial in trials for name, d in trial.distributions.items()}
    values = [trial.value for trial in trials]
    dimensions = [{"label": metric, "values": values}]
    dimensions += [
        _dimension(name, d, [t.params.get(name, UNUSED) for t in trials]) for name, d in distributions.items()
    ]
    line = {"color": values, "colorscale": "Blues", "showscale": True, "cmin": min(values) - 0.3 * _span(values)}
    return Figure(Parcoords(dimensions=dimensions, line=line, labelangle=-12, labelside="bottom"))


def _dimension(name: str, distribution: BaseDistribution, values: Sequence[Any]) -> dict[str, Any]:
    """An axis of the parallel coordinates: places of the values on it, and the text of its ticks."""
    used = [value for value in values if value != UNUSED]
    if isinstance(distribution, CategoricalDistribution):
        marked = list(distribution.choices)
        place = {choice: float(i) for i, choice in enumerate(marked)}
    else:
        marked = ticks(used, distribution.log)
        place = {value: math.log10(value) if distribution.log else float(value) for value in (*used, *marked)}
    at, texts = [place[value] for value in marked], list(map(_text, marked))
    if len(used) < len(values):
        place[UNUSED] = min(at) - 0.2 * (_span(at) or 1)
        at, texts = [*at, place[UNUSED]], [*texts, UNUSED]
    return {"label": name, "values": [place[value] for value in values], "tickvals": at, "ticktext": texts}


def _text(value: Any) -> str:
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values)


def ticks(values: Sequence[float], is_log: bool = False) -> list[float]:
    """Return at most `MOST_TICKS` numbers from the smallest to the largest value; of whole numbers whole ones."""
    different = sorted(set(values))
    if len(different) <= MOST_TICKS and all(isinstance(value, int) for value in different):
        return different
    low, high = different[0], different[-1]
    steps = [i / (MOST_TICKS - 3) for i in range(MOST_TICKS - 2)]
    between = [low * (high / low) ** step if is_log else low + (high - low) * step for step in steps]
    return sorted({round(value) for value in between}) if isinstance(low, int) else between


def save_pictures(study: optuna.Study, folder: Path) -> list[Path]:
    """Write each plot as a PNG file and return the files; without those that have too few complete trials.

    Raises:
        OSError: one can't be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import optuna.visualization.matplotlib as drawing

    metric = study.user_attrs["settings"]["objective"]
    files = []
    for name, title in titles(metric).items():
        axes = _drawn(partial(getattr(drawing, PLOTS[name]), study, **_options(name, metric)))
        if axes is not None:
            figure = plt.gcf()
            _tidy_picture(name, figure, metric, title)
            with written_whole(folder / f"{name}.png", "wb") as file:
                figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
            files.append(folder / f"{name}.png")
        plt.close("all")
    return files


def _tidy_picture(name: str, figure: Any, metric: str, title: str) -> None:
    """The same as `_tidy`, with Matplotlib."""
    from matplotlib.ticker import MaxNLocator

    figure.set_size_inches(max(8, 2.6 * len(figure.axes)), 5)
    first = figure.axes[0]
    for axes in figure.axes:
        for side in ("left", "center", "right"):
            axes.set_title("", loc=side)
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if any("'" in label or label == "None" for label in labels):
                texts = [UNUSED if label == "None" else label.strip("'") for label in labels]
                axis.set_ticks(axis.get_ticklocs(), texts)
    figure.suptitle(title, y=0.98)
    if name == "importance":
        first.set(xlabel="share in what decides", ylabel="")
        first.get_legend().remove()
    if name == "epochs":
        first.set(xlabel="epoch", ylabel=metric)
        legend = first.get_legend()
        for text in legend.get_texts() if legend else ():
            text.set_text(text.get_text().replace("Trial", "trial "))
    if name == "history":
        first.set(xlabel="trial")
    if name in ("epochs", "history"):
        first.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name == "slices":
        for axes in figure.axes:
            places = {place for collection in axes.collections for place in collection.get_offsets()[:, 0].tolist()}
            if axes.get_xscale() == "linear" and axes.get_xlabel() and _are_whole(places, axes):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _are_whole(places: set[float], axes: Any) -> bool:
    is_of_numbers = not axes.xaxis.have_units()
    return is_of_numbers and bool(places) and all(float(place).is_integer() for place in places)
