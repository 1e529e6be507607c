"""Any images of one's own as a data set: decoded once, in threads, and kept in a cache."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convmixer.console import composed
from convmixer.data import cache
from convmixer.data.decoding import MixedSizes, Source, decode_all, default_side, first_shape, progress
from convmixer.data.image_files import READER, Size, check_channels, ready_for_threads
from convmixer.data.image_names import EXTENSIONS, in_words
from convmixer.data.records import Records
from convmixer.data.sources import open_source
from convmixer.data.splits import Dataset, Split
from convmixer.data.tree_splits import TEST_SHARE, Images, class_names, split_images
from convmixer.errors import UserError

log = logging.getLogger("convmixer")


def image_folder(path: Path, image_size: int | None, cache_folder: Path, test_share: float | None = None) -> Dataset:
    """The images at `path`, a folder or a .zip: `train/<class>/*` and `test/<class>/*`, or `<class>/*` alone.

    It may also be a Parquet file or a WebDataset shard, a folder of such files, or a pattern of them. A folder `val/`,
    `valid/` or `validation/` beside the others is the validation split. Classes are sorted by name; in folders, images
    lie directly in those of their classes, of the kinds in `image_names.EXTENSIONS`. Hidden files are passed over.
    Every image becomes RGB as `read_image` does it.

    Args:
        image_size: every image is brought to this height and width: its short side is scaled, smoothly, and the middle
            of the long side is kept. None: that of all images; where they have several, `default_side`.
        test_share: the part of each class that is kept for the test where there is no `test/`; None: 0.1.

    Raises:
        UserError: the tree is not as described, or images cannot be read or are too large.
    """
    path = Path(os.path.abspath(path.expanduser()))
    source = open_source(path)
    # Of a tree all files are looked at; of files that hold many images each, only these, until there is no cache.
    listing = None if isinstance(source, Records) else source.listing()
    _say_passed_over(source)
    has_own_test = "test" in (source.splits if isinstance(source, Records) else listing)
    share = TEST_SHARE if test_share is None else test_share
    fingerprint = cache.fingerprint(READER, source.stamp, listing, image_size, *([] if has_own_test else [share]))
    dataset = cache.load(cache_folder, source.name, fingerprint)
    if dataset is None:
        images = split_images(path, source.listing() if listing is None else listing, share)
        origin = f"{path} at size {image_size}" + ("" if has_own_test else f", {share:g} of it for the test")
        about = {"name": source.name, "classes": tuple(images["train"]), "source": origin}
        with ready_for_threads():
            dataset = _decode(source, images, image_size, cache_folder, fingerprint, about)
    if dataset.note:
        log.info("%s", dataset.note)
    if not has_own_test:
        n, rest = len(dataset.test.labels), len(dataset.train.labels)
        kept = f"{n:,} of its {n + rest:,} images are kept for the test (data.test={share:g})"
        log.info("%s holds no test/: %s", path, kept)
    return replace(dataset, has_own_test=has_own_test)


def labelled_images(path: Path, classes: Sequence[str], shape: tuple[int, int, int]) -> Split:
    """Images to measure a network on: `<class>/*`, or the test images of a source with splits, as `image_folder` has.

    Args:
        classes: those that the network knows, by label. There may be images of some of them only.
        shape: height, width and channels that the network takes; images of another size are brought to it.

    Raises:
        UserError: there are no such images, a class is unknown or empty, or an image cannot be read.
    """
    check_channels(shape[2])
    tree = open_source(path.expanduser())
    found = tree.labelled()
    _say_passed_over(tree)
    label = {composed(name): number for number, name in enumerate(classes)}
    _check_labelled(path, found, list(label))
    names, labels = _in_order(tree, [(image, label[name]) for name in sorted(found) for image in found[name]])
    images = np.empty((len(names), *shape), np.uint8)
    with ready_for_threads(), progress(len(names)) as advance:
        decode_all(tree, names, shape[:2], shape, cache.into(images), advance)
    return Split(torch.from_numpy(images), torch.tensor(labels))


def _say_passed_over(tree: Source) -> None:
    if tree.passed_over:
        log.warning("%s: passed over %s", tree.path, in_words(tree.passed_over))


def _check_labelled(path: Path, found: Mapping[str, Sequence[str]], classes: Sequence[str]) -> None:
    if not any(found.values()):
        kinds = " ".join(kind[1:] for kind in EXTENSIONS)
        raise UserError(f"{path} holds no images: expected <class>/* or test/<class>/*, images of the kinds {kinds}")
    unknown = [name for name in sorted(found) if name not in classes]
    empty = [name for name in sorted(found) if not found[name]]
    faults = []
    if unknown:
        nearest = get_close_matches(unknown[0], classes, n=1) or [class_names(classes)]
        faults += [f"the network does not know {class_names(unknown)}, expected a folder named {nearest[0]}"]
    if empty:
        faults += [f"there are no images of {class_names(empty)}"]
    if faults:
        raise UserError(f"{path}: {'; '.join(faults)}")


def _decode(
    tree: Source, images: Images, image_size: int | None, cache_folder: Path, fingerprint: str, about: dict[str, Any]
) -> Dataset:
    total = sum(len(names) for classes in images.values() for names in classes.values())
    log.info("decoding the %s images of %s: only this once, unless they change", f"{total:,}", tree.path)
    names, labels = {}, {}
    for split, classes in images.items():
        labelled = [(image, label) for label, some in enumerate(classes.values()) for image in some]
        names[split], numbers = _in_order(tree, labelled)
        labels[split] = torch.tensor(numbers)

    def decode(size: Size | None, about: dict[str, Any]) -> Dataset:
        shape = (*size, 3) if size else first_shape(tree, names["train"])
        with progress(total) as advance:

            def decode_split(split: str, put: cache.Put) -> None:
                decode_all(tree, names[split], size, shape, put, advance)

            return cache.decoded(cache_folder, fingerprint, about, labels, shape, decode_split)

    if image_size:
        return decode((image_size, image_size), about)
    try:
        return decode(None, about)
    except MixedSizes as mixed:
        side = default_side(tree, names["train"])
        note = f"{mixed}: all are brought to {side}x{side} (data.image_size={side})"
        return decode((side, side), {**about, "note": note})


def _in_order(source: Source, labelled: list[tuple[str, int]]) -> tuple[list[str], list[int]]:
    """Return names and labels in the order in which the images are read."""
    if source.is_sequential:
        labelled = sorted(labelled, key=lambda item: item[0].rpartition("/")[2])
    return [name for name, _ in labelled], [label for _, label in labelled]
