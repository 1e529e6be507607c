"""Whole-batch augmentation on the training device: no loop over images, every draw a function of (seed, epoch, image).

`operation` says what an operation is. One module for each, or for a few of a kind: `flips`, `crops`, `jitter`,
`randaugment`, `trivial_augment`, `augmix`, `three_augment`, `erasing`. `mixing` makes one image of two, `pipeline` has
their names and order. All but random numbers is tensor arithmetic on the device.
"""

from convmixer.data.augmentation.draws import random_seed
from convmixer.data.augmentation.operation import Operation
from convmixer.data.augmentation.pipeline import ALL_NAMES, MIXING, OPERATIONS, Augmentation

__all__ = ["ALL_NAMES", "MIXING", "OPERATIONS", "Augmentation", "Operation", "random_seed"]
