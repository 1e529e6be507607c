"""Decodes the images of a source in threads, and finds the size that images of many sizes are brought to."""

import math
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from convmixer.console import rich_console
from convmixer.data.cache import Put
from convmixer.data.image_files import Size, image_size, read_image, what_is_wrong
from convmixer.errors import UserError

CHUNK = 256  # images per task, at most: threads hand over seldom enough for it not to cost
CHUNK_BYTES = 2**24  # likewise; with a chunk for each core, what decoding takes in memory
MOST_NAMED = 3  # images that cannot be read, in one error
LOOKED_AT = 1000  # images whose sizes the default is the median of
SIDE_STEP, SMALLEST_SIDE, LARGEST_SIDE = 16, 32, 64  # pixels; the patch sizes 1, 2, 4, 8 and 16 divide all of them

Shape = tuple[int, int, int]  # height, width, channels
Fault = tuple[str, str]  # an image's name, and what is wrong with it


class Source(Protocol):
    """A folder, an archive or files of records, which images are read from."""

    path: Path
    passed_over: Counter[str]  # endings of files that are no images
    is_sequential: bool  # its images are best read in the order of their names

    def shown(self, name: str) -> str:
        """Return an image's name for messages."""

    def read(self, name: str) -> bytes:
        """Return the bytes of an image's file."""


class MixedSizes(Exception):
    """Images have several sizes, and none was given; the text names two of them."""


def decode_all(
    source: Source,
    names: Sequence[str],
    size: Size | None,
    shape: Shape,
    put: Put,
    advance: Callable[[int], None] | None = None,
) -> None:
    """Hand over uint8 `[len(names), *shape]`, in pieces.

    Args:
        size: images are brought to it; None: they have it.
        advance: is told how many more images are decoded.

    Raises:
        UserError: images cannot be read; one line names the first ones, in order.
        MixedSizes: an image has another shape.
    """
    chunk = max(1, min(CHUNK, CHUNK_BYTES // math.prod(shape)))

    def decode(start: int) -> tuple[int, list[Fault]]:
        some = names[start : start + chunk]
        images = np.zeros((len(some), *shape), np.uint8)
        faults = []
        for index, name in enumerate(some):
            image = _read(source, name, size, shape[2])
            if isinstance(image, str):
                faults.append((name, image))
                continue
            if image.shape != shape:
                raise MixedSizes(
                    f"{source.path}: images of several sizes, as {_pixels(shape)} and {_pixels(image.shape)}"
                )
            images[index] = image
        put(start, images)
        return len(some), faults

    wrong: list[Fault] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for n, faults in pool.map(decode, range(0, len(names), chunk)):
            wrong += faults
            if advance:
                advance(n)
    if wrong:
        raise _unreadable(source, wrong)


def first_shape(source: Source, names: Sequence[str]) -> Shape:
    """Return the shape of the first image that can be read.

    Raises:
        UserError: none can.
    """
    wrong: list[Fault] = []
    for name in names:
        image = _read(source, name, None, 3)
        if not isinstance(image, str):
            return image.shape
        wrong.append((name, image))
    raise _unreadable(source, wrong)


def default_side(source: Source, names: Sequence[str]) -> int:
    """Return the side that images of many sizes are brought to: a multiple of 16 from 32 to 64.

    It is the nearest to the median of the short sides, of images that are evenly spaced among `names`.
    """
    some = names[:: math.ceil(len(names) / LOOKED_AT)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sides = [side for side in pool.map(lambda name: _short_side(source, name), some) if side]
    nearest = round(statistics.median(sides or [SMALLEST_SIDE]) / SIDE_STEP) * SIDE_STEP
    return min(max(nearest, SMALLEST_SIDE), LARGEST_SIDE)


def _short_side(source: Source, name: str) -> int | None:
    try:
        return min(image_size(source.read(name)))
    except Exception:  # what is wrong with it is said where it is decoded
        return None


def _read(source: Source, name: str, size: Size | None, channels: int) -> NDArray[np.uint8] | str:
    """Return an image, or what is wrong with it."""
    try:
        return read_image(source.read(name), size, channels)
    except Exception as problem:  # a decoder given broken bytes may raise anything at all
        return what_is_wrong(problem)


def _unreadable(source: Source, wrong: Sequence[Fault]) -> UserError:
    if len(wrong) == 1:
        ((name, fault),) = wrong
        return UserError(f"{source.shown(name)} {fault}")
    names = [source.shown(name).removeprefix(str(source.path)).lstrip("/: ") for name, _ in wrong[:MOST_NAMED]]
    shown = "; ".join(f"{name} {fault}" for name, (_, fault) in zip(names, wrong, strict=False))
    more = f"; and {len(wrong) - MOST_NAMED:,} more" if len(wrong) > MOST_NAMED else ""
    return UserError(f"{source.path}: {len(wrong):,} images are wrong: {shown}{more}")


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; yields a function that takes how many more images are decoded."""
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    console = rich_console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=total)
        yield lambda n: bar.advance(task, n)
