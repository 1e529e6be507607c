"""Loads a data set: CIFAR as published, any image tree, or drawn shapes.

Whatever the source, it ends as a `Dataset`: uint8 tensors in memory.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from convmixer.data.cifar import cifar, find, remedies, unavailable
from convmixer.data.images import image_folder
from convmixer.data.shapes import shapes
from convmixer.data.sources import is_source
from convmixer.data.splits import Dataset, Split, train_and_valid
from convmixer.errors import Unavailable

__all__ = ["Dataset", "Split", "auto", "cifar", "dataset_of_auto", "image_folder", "shapes", "train_and_valid"]


def auto(folder: Path, *, may_fall_back: bool) -> Dataset:
    """CIFAR-10; if no source has it, `shapes` with a banner in `fallback` that says so.

    Raises:
        UserError: no source has CIFAR-10 and `may_fall_back` is false.
    """
    try:
        return find("cifar10", folder)
    except Unavailable as why:
        if not may_fall_back:
            raise unavailable("cifar10", folder, why) from why
        return replace(shapes(), fallback=_banner(folder, why))


def dataset_of_auto(names: Collection[str], path: Path | None) -> str:
    """Name the option that gives the data set again that `data.dataset=auto` came to in a run.

    Args:
        names: has the data set's name among them.
        path: the run's `data.path`.
    """
    if path is not None and is_source(path):
        return "images"
    return next((name for name in ("shapes", "cifar10") if name in names), "images")


def _banner(folder: Path, why: Unavailable) -> str:
    give, own, _ = remedies("cifar10", folder)
    lines = (
        "CIFAR-10 IS NOT AVAILABLE; THIS RUN TRAINS ON `shapes` INSTEAD.",
        f"Why: {why}.",
        "`shapes` are drawn pictures, far easier than photographs: this accuracy says nothing about CIFAR-10.",
        "For real images:",
        f"  - {give}",
        f"  - {own}",
    )
    return "\n".join(lines)
