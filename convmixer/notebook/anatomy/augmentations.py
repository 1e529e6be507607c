"""A figure of augmented images: each operation alone, then all operations of a network's training."""

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from convmixer.data.augmentation import ALL_NAMES, Augmentation
from convmixer.data.batches import Batches
from convmixer.data.splits import Dataset, Split
from convmixer.errors import UserError
from convmixer.notebook.anatomy.panels import as_colours, label_row, new_figure, picture
from convmixer.trained.network import Trained

PREFIX = "augment."


def augmentations(trained: Trained, dataset: Dataset, images: Tensor, **keys: Any) -> Figure:
    """Draw images after each operation alone, and after all operations of the network's training, one row each.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        keys: values of `augment.` keys in place of those of its training, such as `jitter=0.8`; also for operations
            that were added after the network was trained.
    """
    recorded = {name.removeprefix(PREFIX): v for name, v in trained.configs.items() if name.startswith(PREFIX)}
    values = recorded | keys
    patch_size = trained.configs.get("patch_size", 1)
    rows, unknown = {}, []
    for name in ALL_NAMES:
        try:
            rows[name] = augmented(dataset, images, values | {"ops": [name]}, patch_size=patch_size)
        except UserError:  # the configs of an older network lack its keys
            unknown.append(name)
    rows["all of its\ntraining"] = augmented(dataset, images, values | {"ops": recorded["ops"]}, patch_size=patch_size)
    left_out = f" Not shown, as the network's configs lack their keys: {', '.join(unknown)}." if unknown else ""
    figure = new_figure(
        max(7, 0.9 * len(images) + 1),
        0.92 * (len(rows) + 1) + 1.6,
        "Augmentation: what training sees of the same images",
        f"""The random numbers differ for each image and each epoch, so some operations leave some images unchanged. The
        last row shows the operations of the network's own training: {", ".join(recorded["ops"]) or "none"}. If you
        can no longer recognise an image, the network will hardly learn from it.{left_out}""",
    )
    axes = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for row, (name, shown) in zip(axes, {"image": images / 255, **rows}.items(), strict=True):
        label_row(row[0], name)
        for axis, image in zip(row, shown, strict=True):
            picture(axis, as_colours(image))
    return figure


def augmented(
    dataset: Dataset, images: Tensor, keys: dict[str, Any], seed: int = 0, epoch: int = 1, patch_size: int = 1
) -> Tensor:
    """Return the images as augmented in an epoch of training: `[batch, height, width, channels]` from 0 to 1.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        keys: the experiment's `augment.` keys, `ops` among them.

    Raises:
        UserError: a key that the operations need is missing.
    """
    augmentation = Augmentation.of(keys, dataset, seed, len(images), patch_size)
    split = Split(images, torch.zeros(len(images), dtype=torch.long))
    batches = Batches(split, dataset, len(images), torch.device("cpu"), seed, augmentation)
    ((shuffled, _),) = batches.epoch(epoch)
    normalised = torch.empty_like(shuffled).index_copy_(0, batches.order(epoch), shuffled).permute(0, 2, 3, 1)
    mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std).clamp(min=1e-6)
    return (normalised * std + mean).clamp(0, 1)
