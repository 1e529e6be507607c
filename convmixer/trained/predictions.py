"""Finds image files, decodes them in threads and classifies them batch by batch."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convmixer.data.image_files import check_channels, read_image, ready_for_threads, what_is_wrong
from convmixer.data.image_names import EXTENSIONS, in_words, is_image
from convmixer.errors import UserError
from convmixer.trained.classifier import Classifier
from convmixer.trained.image_input import MAX_BYTES

log = logging.getLogger("convmixer")

STDIN = "-"

T, S = TypeVar("T"), TypeVar("S")


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image file: probabilities, or an error if the file is broken.

    Attributes:
        file: the file's path, `-` for standard input.
        probabilities: float64 `[classes]`; None for a broken file.
        error: the problem, in words that follow the file's name; None for a good file.
    """

    file: str
    probabilities: Tensor | None = None
    error: str | None = None

    def top(self, k: int) -> list[tuple[int, float]]:
        """Return the `k` most probable classes with their probabilities, the most probable first."""
        values, classes = self.probabilities.topk(min(k, len(self.probabilities)))
        return list(zip(classes.tolist(), values.tolist(), strict=True))


def find_images(paths: Iterable[str]) -> list[str]:
    """Return all files in `paths`, and the images in all folders in `paths`, at any depth, sorted by name.

    In folders, hidden files and folders are left out, and files without an ending in `image_names.EXTENSIONS`.

    Raises:
        UserError: a path does not exist, or a folder can't be read or holds no images.
    """
    files = []
    for path in paths:
        if not os.path.isdir(path):
            if not os.path.exists(path):
                raise UserError(f"{path}: no such file or folder")
            files.append(path)
            continue
        passed_over: Counter[str] = Counter()
        found = sorted(_images_below(path, passed_over))
        if passed_over:
            log.warning("%s: passed over %s", path, in_words(passed_over))
        if not found:
            raise UserError(f"{path}: no images in this folder (endings: {' '.join(kind[1:] for kind in EXTENSIONS)})")
        files += found
    return files


def _images_below(folder: str, passed_over: Counter[str]) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: can't be read: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and is_image(name, passed_over):
                yield os.path.join(place, name)


def predict(classifier: Classifier, images: Iterable[str | bytes], batch_size: int) -> Iterator[Prediction]:
    """Yield a prediction for each image, in the same order; a broken one gets an error.

    At most two batches are in memory at a time.

    Args:
        images: paths of image files, or the bytes of one, which is then called `-`.
        batch_size: the number of images that are classified at a time.

    Raises:
        UserError: the network needs images with a number of channels that files can't have.
    """
    height, width, channels = classifier.trained.image_shape
    check_channels(channels)

    def decode(image: str | bytes) -> tuple[str, NDArray[np.uint8] | str]:
        name = STDIN if isinstance(image, bytes) else image
        try:
            data = image if isinstance(image, bytes) else _read(image)
            return name, read_image(data, (height, width), channels)
        except Exception as problem:  # a decoder given broken bytes may raise anything at all
            return name, what_is_wrong(problem)

    with ready_for_threads(), ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = _map_ahead(pool, decode, images, batch_size)
        while batch := list(islice(decoded, batch_size)):
            yield from _classify(classifier, batch)


def _read(file: str) -> bytes:
    with open(file, "rb") as opened:  # may be a pipe, of unknown length
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UserError(f"more than {MAX_BYTES // 2**20} MiB")
    return data


def _map_ahead(pool: Executor, function: Callable[[T], S], items: Iterable[T], ahead: int) -> Iterator[S]:
    """Yield what `pool.map` would, but start at most `ahead` items before they are needed."""
    items = iter(items)
    begun = deque(pool.submit(function, item) for item in islice(items, ahead))
    while begun:
        yield begun.popleft().result()
        begun.extend(pool.submit(function, item) for item in islice(items, 1))


def _classify(classifier: Classifier, batch: list[tuple[str, NDArray[np.uint8] | str]]) -> Iterator[Prediction]:
    images = [image for _, image in batch if isinstance(image, np.ndarray)]
    probabilities = iter(_probabilities(classifier, np.stack(images)) if images else ())
    for name, image in batch:
        if isinstance(image, str):
            yield Prediction(name, error=image)
        else:
            yield Prediction(name, next(probabilities))


def _probabilities(classifier: Classifier, images: NDArray[np.uint8]) -> Tensor:
    return classifier.logits(torch.from_numpy(images)).double().softmax(1)
