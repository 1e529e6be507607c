"""A picture of every augmentation on real images: docs/augmentation.png and docs/randaugment.png.

python -m benchmarks.augmentation_pictures data.dataset=images data.path=FOLDER [--folder docs]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import torch
from torch import Tensor
from torch.nn import functional as F

from convmixer.configs.keys import keys_of
from convmixer.configs.overrides import split_assignments
from convmixer.configs.resolving import resolve
from convmixer.configs.schema import Configs
from convmixer.data.augmentation import MIXING, OPERATIONS, Augmentation
from convmixer.data.augmentation.operation import to_levels
from convmixer.data.augmentation.randaugment import increasing

matplotlib.use("Agg")
from matplotlib import pyplot as plt

N = 10  # images in a row
EPOCH = 0


def augmented(conf: Configs, *ops: str) -> Tensor:
    """The first image of each class as a run would see it with these operations: `[N, height, width, channels]`."""
    split = conf.data.dataset.train
    first = torch.stack([(split.labels == label).nonzero()[0, 0] for label in range(N)])
    values = {key.removeprefix("augment."): value for key, value in resolve({}, keys_of(Configs)).items()}
    keys = values | {"ops": ops}
    augmentation = Augmentation.of(keys, conf.data.dataset, conf.seed, len(split.labels))
    draws = augmentation.draws(EPOCH)
    images = augmentation(split.images[first], first, draws)
    if augmentation.mixing:
        images, _ = augmentation.mixing(images, images.roll(1, 0), draws["mixing"][first])
    rows, columns = (a - b for a, b in zip(split.images.shape[1:3], images.shape[1:3], strict=True))
    return F.pad(to_levels(images), (0, 0, 0, columns, 0, rows), value=255)  # white beside small crops


def operations(conf: Configs) -> dict[str, Callable[[], Tensor]]:
    """A row for each operation by itself, and for all that the paper's recipe has."""
    paper = ("resized_crop", "flip", "randaugment", "erasing", *MIXING)
    rows: dict[str, tuple[str, ...]] = {"original": ()} | {name: (name,) for name in (*OPERATIONS, *MIXING)}
    rows |= {"paper's recipe": paper}
    return {name: lambda ops=ops: augmented(conf, *ops) for name, ops in rows.items()}


def randaugment(conf: Configs) -> dict[str, Callable[[], Tensor]]:
    """A row for each operation of the increasing set, from strength 0 on the left to 1, magnitude 10, on the right."""
    images = augmented(conf)
    strength = torch.linspace(0, 1, N)
    choices = increasing(conf.data.dataset.mean, *images.shape[1:3]).choices
    return {
        name: lambda choice=choice: choice.operation(images, choice.argument(strength))
        for name, choice in choices.items()
    }


def draw(rows: dict[str, Callable[[], Tensor]], file: Path) -> None:
    """One row of images under the other, with their names."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(8, 0.72 * len(rows)), layout="constrained")
    for axis, (name, images) in zip(axes, rows.items(), strict=True):
        axis.imshow(torch.cat(list(images()), 1).numpy(), interpolation="nearest")
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("overrides", nargs="+", help="data.dataset=... data.path=...")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    conf = Configs()
    conf.override(split_assignments(arguments.overrides))
    draw(operations(conf), arguments.folder / "augmentation.png")
    draw(randaugment(conf), arguments.folder / "randaugment.png")


if __name__ == "__main__":
    main()
