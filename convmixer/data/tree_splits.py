"""Decides which images of a source are for training, validation and test, and checks that nothing is missing.

Sources are trees of images (`trees.py`) and files of labelled images; all give a `Listing`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from convmixer.errors import UserError

# split -> class -> name of an image -> numbers that change when the image does, or is another
Listing = dict[str, dict[str, dict[str, tuple[int, ...]]]]
Images = dict[str, dict[str, list[str]]]  # split -> class -> names of images, as the source reads them

SPLITS = ("train", "test")
VALIDATION = ("val", "valid", "validation")  # the usual names of the folder
SPLIT_FOLDERS = (*SPLITS, *VALIDATION)
UNSPLIT = ""  # the split of images that lie in no split's folder: <class>/*
TEST_SHARE = 0.1
EXPECTED = "expected train/<class>/* and test/<class>/*, or <class>/*"
MOST_NAMED = 5  # faults that one error names


def split_images(path: Path, listing: Listing, test_share: float) -> Images:
    """Return the names of the images of `train`, `test` and, if the source has one, `valid`, by class.

    Args:
        path: the source, for messages.
        test_share: the part of each class that is kept for the test where the source has no test split.

    Raises:
        UserError: splits, classes or images are missing; one line names all that is.
    """
    _check(path, listing)
    images: Images = {}
    for folder, classes in listing.items():
        split = "valid" if folder in VALIDATION else folder or "train"
        images[split] = {name: _names(folder, name, classes[name]) for name in sorted(classes)}
    return images if "test" in images else images | _without_test(images["train"], test_share)


def _names(folder: str, class_name: str, files: Iterable[str]) -> list[str]:
    start = f"{folder}/{class_name}/" if folder else f"{class_name}/"
    return [start + file for file in sorted(files)]


def _check(path: Path, listing: Listing) -> None:
    if "train" not in listing and UNSPLIT not in listing:
        raise UserError(f"{path} holds no train/: {EXPECTED}")
    validation = [f"{folder}/" for folder in VALIDATION if folder in listing]
    everywhere = sorted({name for classes in listing.values() for name in classes})
    if not everywhere:
        raise UserError(f"{path} holds no folders of classes: {EXPECTED}")
    faults = []
    if len(validation) > 1:
        faults += [f"it holds {' and '.join(validation)}: expected one folder for validation"]
    if len(everywhere) == 1:
        faults += [f"it holds 1 class folder: expected at least 2, {EXPECTED}"]
    for folder in (name for name in (UNSPLIT, *SPLITS, *VALIDATION) if name in listing):
        classes = listing[folder]
        place = f"{folder}/" if folder else "it"
        missing = [name for name in everywhere if name not in classes]
        empty = [name for name in sorted(classes) if not classes[name]]
        faults += [f"{place} lacks {class_names(missing)}"] if missing else []
        faults += [f"{place} holds no images of {class_names(empty)}"] if empty else []
    if "test" not in listing:
        classes = listing.get("train", listing.get(UNSPLIT, {}))
        alone = [name for name in sorted(classes) if len(classes[name]) == 1]
        faults += [f"without test/, {class_names(alone)} would need 2 images"] if alone else []
    if faults:
        raise UserError(f"{path}: {'; '.join(faults)}")


def class_names(names: Sequence[str]) -> str:
    """Return the first names in words: `the classes 'cat', 'dog' and 12 more`."""
    shown = ", ".join(map(repr, names[:MOST_NAMED]))
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"the class{'' if len(names) == 1 else 'es'} {shown}{more}"


def _without_test(train: Mapping[str, list[str]], share: float) -> Images:
    """Take a share of each class for the test, at least one image: the same ones for every `seed`.

    A run may begin from the weights of a run with another seed: it must not have been trained on these images.
    """
    test = {name: sorted(_first(images, share)) for name, images in train.items()}
    chosen = {image for images in test.values() for image in images}
    kept = {name: [image for image in images if image not in chosen] for name, images in train.items()}
    return {"train": kept, "test": test}


def _first(images: list[str], share: float) -> list[str]:
    n = min(len(images) - 1, max(1, round(len(images) * share)))
    return sorted(images, key=_digest)[:n]


def _digest(name: str) -> bytes:
    """Return what puts images into a random order that stays, mostly, when images are added."""
    return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()


def nested(where: object) -> UserError:
    """Return the error of a folder inside a class."""
    return UserError(f"{where}: a folder inside a class; expected its images directly in <class>/")
