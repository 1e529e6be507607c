"""Loads the images that a network was trained and tested on, for the figures. Imports no labml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from convmixer.data.datasets import cifar, dataset_of_auto
from convmixer.data.images import image_folder
from convmixer.data.shapes import shapes
from convmixer.data.splits import Dataset, Split
from convmixer.errors import UserError
from convmixer.project import project_folder, settings
from convmixer.trained.network import Trained


class DataConfigs(Protocol):
    """The part of a `Configs` class that is needed to load a data set of a script."""

    def build_dataset(self, values: Mapping[str, Any]) -> Dataset:
        """Load the data set that these values of keys name."""


def dataset_of(
    trained: Trained, path: str | Path | None = None, configs_class: type[DataConfigs] | None = None
) -> Dataset:
    """Load the data set that a network was trained on.

    Args:
        path: folder or .zip of its images now; None: the one in training.
        configs_class: the `Configs` of your script, if it defines the data set.

    Raises:
        UserError: the images are not available, or have other classes.
    """
    if configs_class:
        dataset = configs_class().build_dataset(trained.configs | ({"data.path": str(path)} if path else {}))
    else:
        dataset = _load(trained, Path(path) if path else None)
    if dataset.classes != trained.classes[: len(dataset.classes)]:  # there may be more outputs than classes
        raise UserError(
            f"data: {dataset.name} has the classes {', '.join(dataset.classes)}, but {trained.name} "
            f"was trained on {', '.join(trained.classes)}"
        )
    return dataset


def _load(trained: Trained, path: Path | None) -> Dataset:
    kind = trained.configs["data.dataset"]
    data_folder = project_folder() / settings().get("data_path", "data")
    recorded = trained.configs["data.path"]
    path = path or (Path(recorded) if recorded else None)
    if kind == "auto":
        kind = dataset_of_auto([trained.data["name"]], path)
    if kind == "images" or (trained.imported and path):
        if path is None:
            raise UserError(f"{trained.name}: the place of its images was not recorded: give their folder or .zip")
        configs = trained.configs
        return image_folder(path, configs["data.image_size"], data_folder / "cache", configs.get("data.test"))
    if kind == "shapes":
        return shapes()
    if kind in ("cifar10", "cifar100"):
        return cifar(kind, path or data_folder, may_download=path is None)
    raise UserError(
        f"{trained.name} was trained on {kind}, a data set that another script defines: "
        "give its Configs as configs_class"
    )


def one_of_each_class(split: Split, n: int) -> Tensor:
    """Return the first image of each of the first `n` classes: uint8 `[n, height, width, channels]`."""
    firsts = [int((split.labels == label).nonzero()[0]) for label in split.labels.unique()[:n].tolist()]
    return split.images[torch.tensor(firsts)]
