"""Augmented images/s: ours on one core beside torchvision's v2 transforms in a DataLoader with 2 workers, per core.

    python -m benchmarks.augmentation data.dataset=cifar10 [--rounds 7] [--seconds 3] [--csv FILE]

Both make normalised float32 batches of 128, from images that are decoded and in memory. Ours is `Batches.epoch`, as a
run has it, draws included, on one thread. Theirs starts from Pillow images or from tensors, whichever is quicker on
this machine, and is given two cores: its rate is halved. The sides take turns within one process and the workers are
idle in ours; starting the workers is not counted, nor are the batches they had ready.

`crop+flip` is translation by 4 pixels with reflection and a random flip, `trivial_augment` the same with
TrivialAugment, `paper` what the recipe of that name does: resized crop, flip, RandAugment, random erasing with noise,
mixup and cutmix. torchvision's RandAugment is given its own operations at the same strength.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import v2

from benchmarks import tables
from convmixer.configs import Configs
from convmixer.configs.building import train_batches
from convmixer.configs.overrides import split_assignments
from convmixer.configs.recipes import RECIPES
from convmixer.data.batches import Batch, Batches
from convmixer.data.datasets import Dataset
from convmixer.tracking.labml_fixes import use_project_folder
from convmixer.training.hardware import cpu_name, keep_freed_memory

BATCH_SIZE = 128
WORKERS = 2
READY = 2 * WORKERS  # batches that the workers make before they are asked
CROP_AND_FLIP = {"augment.ops": ["translate", "flip"], "augment.translate": 4}
SETS: dict[str, dict[str, Any]] = {
    "crop+flip": CROP_AND_FLIP,
    "trivial_augment": CROP_AND_FLIP | {"augment.ops": ["translate", "flip", "trivial_augment"]},
    "paper": {key: value for key, value in RECIPES["paper"]().items() if key.startswith("augment.")},
}


def our_batches(augment: dict[str, Any], given: dict[str, str]) -> Batches:
    """Return batches as a run with these values trains on."""
    conf = Configs()
    conf.override(given | augment | {"train_batch_size": BATCH_SIZE, "device": "cpu"})
    return train_batches(conf, conf.train_split, torch.device("cpu"))


def their_transform(name: str, dataset: Dataset, from_tensors: bool) -> v2.Transform:
    """torchvision's way to the same augmentation of one image."""
    first = [v2.ToImage()] if from_tensors else []
    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(dataset.mean, dataset.std)]
    crop_and_flip = [v2.RandomCrop(32, 4, padding_mode="reflect"), v2.RandomHorizontalFlip()]
    if name == "crop+flip":
        return v2.Compose([*first, *crop_and_flip, *last])
    if name == "trivial_augment":
        return v2.Compose([*first, *crop_and_flip, v2.TrivialAugmentWide(), *last])
    augment = [
        v2.RandomResizedCrop(32, scale=(0.75, 1.0)),
        v2.RandomHorizontalFlip(),
        v2.RandAugment(num_ops=2, magnitude=27),
    ]
    return v2.Compose([*first, *augment, *last, v2.RandomErasing(0.25, value="random")])


class TheirImages(torch.utils.data.Dataset):
    """Decoded images, augmented one by one when they are asked for."""

    def __init__(self, name: str, dataset: Dataset, from_tensors: bool) -> None:
        images = dataset.train.images
        self.images = images.permute(0, 3, 1, 2) if from_tensors else [Image.fromarray(i.numpy()) for i in images]
        self.labels = dataset.train.labels.tolist()
        self.transform = their_transform(name, dataset, from_tensors)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def their_loader(name: str, dataset: Dataset, from_tensors: bool) -> DataLoader:
    """A DataLoader, whose workers mix the batches that they collate."""
    n_classes = len(dataset.classes)
    either = v2.RandomChoice([v2.MixUp(alpha=0.5, num_classes=n_classes), v2.CutMix(alpha=0.5, num_classes=n_classes)])
    return DataLoader(
        TheirImages(name, dataset, from_tensors),
        BATCH_SIZE,
        shuffle=True,
        num_workers=WORKERS,
        collate_fn=(lambda samples: either(*default_collate(samples))) if name == "paper" else None,
    )


def our_turn(batches: Batches, seconds: float) -> float:
    """Images/s over about `seconds`, epochs begun anew where one ends."""
    endless = (batch for epoch in count() for batch in batches.epoch(epoch))
    return _rate(endless, seconds)


def their_turn(loader: DataLoader, seconds: float) -> float:
    """Images/s and core over about `seconds`."""
    batches = iter(loader)
    for _ in range(READY):
        next(batches)
    return _rate(batches, seconds) / WORKERS


def _rate(batches: Iterator[Batch], seconds: float) -> float:
    images, started = 0, perf_counter()
    while (elapsed := perf_counter() - started) < seconds:
        batch = next(batches, None)
        if batch is None:
            break
        images += len(batch[1])
    return images / elapsed


def compare(name: str, given: dict[str, str], dataset: Dataset, rounds: int, seconds: float) -> dict[str, object]:
    """All three in turns; a ratio is of turns of the same round."""
    ours = our_batches(SETS[name], given)
    loaders = {kind: their_loader(name, dataset, kind == "tensors") for kind in ("Pillow", "tensors")}
    turns: dict[str, Callable[[], float]] = {
        kind: lambda it=it: their_turn(it, seconds) for kind, it in loaders.items()
    }
    turns = {"ours": lambda: our_turn(ours, seconds), **turns}
    rates: dict[str, list[float]] = {kind: [] for kind in turns}
    for number in range(rounds):
        for kind in list(turns) if number % 2 == 0 else reversed(turns):
            rates[kind].append(turns[kind]())
    best = max(loaders, key=lambda kind: median(rates[kind]))
    ratios = [mine / theirs for mine, theirs in zip(rates["ours"], rates[best], strict=True)]
    return {
        "set": name,
        "ours_per_core": round(median(rates["ours"])),
        "pillow_per_core": round(median(rates["Pillow"])),
        "tensors_per_core": round(median(rates["tensors"])),
        "ratio_to": best,
        "ratio": round(median(ratios), 1),
        "ratio_min": round(min(ratios), 1),
        "ratio_max": round(max(ratios), 1),
        "rounds": rounds,
        "cpu": cpu_name(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("overrides", nargs="+", help="KEY=VALUE: the data set")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn of one side")
    parser.add_argument("--csv", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    given = split_assignments(arguments.overrides)
    conf = Configs()
    use_project_folder()
    conf.override(given)
    dataset = conf.data.dataset
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = [compare(name, given, dataset, arguments.rounds, arguments.seconds) for name in SETS]
    for row in rows:
        print(*(f"{key}={value}" for key, value in row.items()), sep="  ", flush=True)
    if arguments.csv:
        tables.put(arguments.csv, rows)


if __name__ == "__main__":
    main()
