"""Operations by name, and what they do to the batches of a data set."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from convmixer.data.augmentation.augmix import AugMix, mild
from convmixer.data.augmentation.crops import ResizedCrop, SmallCrop, Translate
from convmixer.data.augmentation.erasing import Cutout, Erasing
from convmixer.data.augmentation.flips import AlternatingFlip, Flip
from convmixer.data.augmentation.jitter import Jitter
from convmixer.data.augmentation.mixing import Mixing
from convmixer.data.augmentation.operation import Operation
from convmixer.data.augmentation.randaugment import CHOICE_SETS, RandAugment
from convmixer.data.augmentation.three_augment import ThreeAugment
from convmixer.data.augmentation.trivial_augment import TrivialAugment, wide
from convmixer.data.splits import Dataset
from convmixer.errors import UserError

# Makes each from the experiment's `augment.` keys and its data. Add your own from a script: OPERATIONS["mine"] = ...
OPERATIONS: dict[str, Callable[[Mapping[str, Any], Dataset], Operation]] = {
    "translate": lambda keys, data: Translate(keys["translate"]),
    "flip": lambda keys, data: Flip(),
    "alternating_flip": lambda keys, data: AlternatingFlip(),
    "resized_crop": lambda keys, data: ResizedCrop(
        tuple(keys["resized_crop_scale"]), tuple(keys["resized_crop_ratio"])
    ),
    "randaugment": lambda keys, data: RandAugment(
        CHOICE_SETS[keys["randaugment_set"]](data.mean, *data.train.images.shape[1:3]),
        keys["randaugment_ops"],
        keys["randaugment_magnitude"],
        keys["randaugment_std"],
    ),
    "trivial_augment": lambda keys, data: TrivialAugment(wide(len(data.mean))),
    "augmix": lambda keys, data: AugMix(mild(len(data.mean), *data.train.images.shape[1:3]), keys["augmix_severity"]),
    "three_augment": lambda keys, data: ThreeAugment(),
    "jitter": lambda keys, data: Jitter(keys["jitter"]),
    "erasing": lambda keys, data: Erasing(
        keys["erasing"], keys["erasing_fill"] == "noise", _levels(data.mean), _levels(data.std)
    ),
    "cutout": lambda keys, data: Cutout(keys["cutout"], _levels(data.mean)),
    "small_crop": lambda keys, data: SmallCrop(keys["small_crop"], keys["patch_size"]),
}
MIXING = ("mixup", "cutmix")  # come after all operations: two finished images are mixed


ALL_NAMES: Mapping[str, Any] = ChainMap(dict.fromkeys(MIXING), OPERATIONS)  # of `augment.ops`, later ones too


class _Keys(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise UserError(f"augment.{name} is missing: give its value")


def _levels(channels: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(255 * channel for channel in channels)


class Augmentation:
    """Operations, applied in the order given, to the batches of a data set of `n` images; mixing, if any, last.

    Args:
        off_for: the share of the training, at its end, in which only mild operations are applied, and no mixing.
    """

    def __init__(
        self,
        operations: Mapping[str, Operation],
        seed: int,
        n: int,
        mixing: Mixing | None = None,
        off_for: float = 0.0,
    ) -> None:
        self.operations = dict(operations)
        self.seed = seed
        self.n = n
        self.mixing = mixing
        self.off_for = off_for

    @classmethod
    def of(cls, keys: Mapping[str, Any], data: Dataset, seed: int, n: int, patch_size: int = 1) -> "Augmentation":
        """Make the augmentation that an experiment's `augment.` keys describe, for a network with such patches.

        Raises:
            UserError: a key that an operation needs is missing.
        """
        keys = _Keys({**keys, "patch_size": patch_size})
        operations = {name: OPERATIONS[name](keys, data) for name in keys["ops"] if name in OPERATIONS}
        alphas = {name: keys[name] if name in keys["ops"] else None for name in MIXING}
        mixing = Mixing(**alphas, cutmix_share=keys["cutmix_share"]) if any(alphas.values()) else None
        return cls(operations, seed, n, mixing, keys.get("off_for", 0.0))  # older runs have no such key

    @property
    def mild(self) -> "Augmentation":
        """The augmentation at the end of a training, with the same draws: mild operations alone."""
        operations = {name: operation for name, operation in self.operations.items() if operation.is_mild}
        return Augmentation(operations, self.seed, self.n)

    @property
    def names(self) -> list[str]:
        """The operations' names in their order, and those of mixing."""
        mixing = [name for name in MIXING if self.mixing and getattr(self.mixing, name) is not None]
        return [*self.operations, *mixing]

    @property
    def turned_off(self) -> list[str]:
        """The names of what is off at the end of a training."""
        return [name for name in self.names if name not in self.mild.operations]

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the images that come out, for those of the images that go in."""
        for operation in self.operations.values():
            height, width = operation.shape(height, width)
        return height, width

    def draws(self, epoch: int) -> dict[str, Tensor]:
        """An epoch's draws for every image, by operation, on the host: `[n, columns]` each."""
        draws = {name: operation.draw(self.n, self.seed, epoch, name) for name, operation in self.operations.items()}
        return draws | ({"mixing": self.mixing.draw(self.n, self.seed, epoch)} if self.mixing else {})

    def __call__(self, images: Tensor, index: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Augment, without mixing.

        Args:
            images: uint8 or float `[batch, height, width, channels]`.
            index: which of the data set's they are, `[batch]`, on the host.
        """
        for name, operation in self.operations.items():
            images = operation(images, draws[name][index])
        return images
