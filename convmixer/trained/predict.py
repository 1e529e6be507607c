"""Classifies image files and writes a table, CSV or JSON lines, for the command `predict`."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from PIL import UnidentifiedImageError
from rich.progress import Progress

from convmixer.console import counted, printable, rich_console
from convmixer.data.image_files import open_image
from convmixer.errors import SomeFailed, UserError
from convmixer.files.atomic import written_whole
from convmixer.files.untrusted import as_utf8
from convmixer.trained.classifier import Classifier
from convmixer.trained.network import Trained
from convmixer.trained.prediction_formats import FORMATS
from convmixer.trained.predictions import MAX_BYTES, STDIN, Prediction, find_images, predict

TEXT = bytes([*b"\t\n\r", *range(32, 127), *range(128, 256)])  # all but control characters

log = logging.getLogger("convmixer")


def predict_files(
    trained: Trained,
    paths: Sequence[str],
    form: str | None = None,
    top: int = 3,
    output: Path | None = None,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Classify image files and write the predictions.

    Args:
        paths: files, folders or `-` for standard input.
        form: table, csv or jsonl; None: from the ending of `output`, else a table on a terminal and CSV elsewhere.
        top: the number of classes shown for each image.
        output: the file to write; None: standard output.
        values: values of `device`, `precision` and `valid_batch_size` that differ from the training.

    Raises:
        UserError: a file or folder does not exist, or the output can't be written.
        SomeFailed: some of the files could not be read; the others were classified.
    """
    values = values or {}
    classifier = Classifier(trained, values.get("device", "auto"), values.get("precision"))
    images = _images(paths)
    predictions = predict(classifier, images, values.get("valid_batch_size", trained.configs["valid_batch_size"]))
    count = _Count(len(images), to_terminal=output is None and sys.stdout.isatty())
    with _opened(output) as out, count:
        write = FORMATS[form or _form(output)]
        write(count.through(predictions), trained.classes, min(top, len(trained.classes)), out)
    count.report()


def _form(output: Path | None) -> str:
    ending = output.suffix.lstrip(".").lower() if output else ""
    if ending in FORMATS:
        return ending
    return "table" if output is None and sys.stdout.isatty() else "csv"


def _images(paths: Sequence[str]) -> list[str | bytes]:
    if not paths:
        raise UserError("command line: no images are given, expected files, folders or - (standard input)")
    if STDIN not in paths:
        return find_images(paths)
    if len(paths) > 1:
        raise UserError("command line: - (standard input) can't be combined with files")
    return _from_stdin(sys.stdin.buffer.read(MAX_BYTES + 1))


def _from_stdin(data: bytes) -> list[str | bytes]:
    """Return the content of standard input: one image, or paths, one on each line.

    Raises:
        UserError: it is empty, too large, or neither.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"standard input: more than {MAX_BYTES // 2**20} MiB")
    if not data.strip():
        raise UserError("standard input is empty: expected an image, or paths of images, one on each line")
    if _is_image(data):
        return [data]
    try:
        names = as_utf8(data)
    except ValueError:
        names = data
    if b"\0" in names:
        raise UserError("standard input is neither an image nor a list of paths, one on each line")
    lines = (line.removesuffix(b"\r") for line in names.split(b"\n"))
    return [os.fsdecode(line) for line in lines if line]


def _is_image(data: bytes) -> bool:
    """Tell it from a list of paths, whose first may begin as an image does: `BMW/0.jpg`, `P1 0.jpg`."""
    is_text = not data.translate(None, TEXT)
    try:
        with open_image(data) as image:
            kind = image.format
    except UnidentifiedImageError:
        return False
    except Exception:  # an image, though a broken one: said where it is decoded
        return not is_text
    return not is_text or kind == "PPM"  # the one format that can be all text


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Open the output, which writes file names with the same bytes as on the disk."""
    try:
        if output is None:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
            yield sys.stdout
            sys.stdout.flush()
        else:
            with written_whole(output, encoding="utf-8", errors="surrogateescape", newline="") as out:
                yield out
    except BrokenPipeError:  # the reader wants no more
        raise
    except OSError as error:
        raise UserError(f"{output or 'standard output'}: can't be written: {error.strerror}") from None


class _Count:
    """A count of the classified and the failed images, shown on standard error with the time."""

    def __init__(self, total: int, to_terminal: bool) -> None:
        console = rich_console(stderr=True)
        # No bar if the predictions themselves are printed on the terminal.
        self._bar = Progress(
            console=console, transient=True, redirect_stdout=False, disable=to_terminal or not console.is_terminal
        )
        self._task = self._bar.add_task("predicting", total=total)
        self._done = self._failed = 0
        self._started = time.perf_counter()

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def through(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yield the predictions unchanged, count them and log those that failed."""
        for prediction in predictions:
            if prediction.error is not None:
                self._failed += 1
                log.warning("%s %s", printable(prediction.file), prediction.error)
            yield prediction
            self._done += 1
            self._bar.advance(self._task)

    def report(self) -> None:
        """Print the last line.

        Raises:
            SomeFailed: some images failed.
        """
        seconds = time.perf_counter() - self._started
        images = counted(self._done, "image")
        print(f"{images} in {seconds:.1f} s: {self._done / seconds:,.0f} images/s", file=sys.stderr)
        if self._failed:
            raise SomeFailed(f"{self._failed:,} of {images} could not be read")
