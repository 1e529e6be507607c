"""Whole-batch augmentation on the training device: no loop over images, every draw a function of (seed, epoch, image).

`operation` says what an operation is; `flips`, `crops`, `jitter`, `randaugment` and `erasing` hold them, `mixing` what
makes one image of two, `pipeline` their names and order. All but random numbers is tensor arithmetic on the device.
"""

from convmixer.data.augmentation.draws import random_seed
from convmixer.data.augmentation.operation import Operation
from convmixer.data.augmentation.pipeline import ALL_NAMES, MIXING, OPERATIONS, Augmentation

__all__ = ["ALL_NAMES", "MIXING", "OPERATIONS", "Augmentation", "Operation", "random_seed"]
