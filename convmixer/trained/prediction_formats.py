"""Writes predictions as a table, CSV or JSON lines, each as soon as it is made."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from convmixer.console import printable
from convmixer.trained.predictions import Prediction

NAME_WIDTH = 60  # characters: file names are padded to at most this width


def write_table(predictions: Iterable[Prediction], classes: Sequence[str], top: int, out: TextIO) -> None:
    """Write a line for each image: its name, then classes with their probabilities. Broken files are left out."""
    classes = [printable(name) for name in classes]
    name_width, class_width = 0, max(map(len, classes))
    for prediction in predictions:
        if prediction.error is None:
            name = printable(prediction.file)
            name_width = min(max(name_width, len(name)), NAME_WIDTH)
            cells = [f"{classes[label]:<{class_width}} {value:6.1%}" for label, value in prediction.top(top)]
            print(f"{name:<{name_width}}  {'   '.join(cells)}", file=out)


def write_csv(predictions: Iterable[Prediction], classes: Sequence[str], top: int, out: TextIO) -> None:
    """Write CSV with the columns file, class and probability for each of the `top` classes, error."""
    shown = printable if out.isatty() else str  # a file gets names as they are, a terminal would obey them
    classes = [shown(name) for name in classes]
    writer = csv.writer(out, lineterminator="\n")
    ranks = ["class", "probability", *(f"{word}_{k}" for k in range(2, top + 1) for word in ("class", "probability"))]
    writer.writerow(["file", *ranks, "error"])
    for prediction in predictions:
        if prediction.error is None:
            cells = [cell for label, value in prediction.top(top) for cell in (classes[label], f"{value:.6f}")]
            writer.writerow([shown(prediction.file), *cells, ""])
        else:
            writer.writerow([shown(prediction.file), *[""] * len(ranks), shown(prediction.error)])


def write_jsonl(predictions: Iterable[Prediction], classes: Sequence[str], top: int, out: TextIO) -> None:
    """Write an object on each line: file, class, probability, and probabilities by class; or file and error."""
    for prediction in predictions:
        if prediction.error is None:
            probabilities = {classes[label]: round(value, 6) for label, value in prediction.top(top)}
            best, probability = next(iter(probabilities.items()))
            content = {"class": best, "probability": probability, "probabilities": probabilities}
        else:
            content = {"error": prediction.error}
        print(json.dumps({"file": prediction.file, **content}), file=out)


FORMATS: dict[str, Callable[[Iterable[Prediction], Sequence[str], int, TextIO], None]] = {
    "table": write_table,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
