"""Operations that a recipe's augmentation starts on a GPU, counted on the meta device: it runs nothing, as a GPU."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convmixer.configs.recipes import RECIPES
from convmixer.data.augmentation import Augmentation
from convmixer.data.augmentation.erasing import _standard_noise
from convmixer.data.batches import Batches
from convmixer.data.datasets import Dataset, Split

META = torch.device("meta")
VIEWS = {
    *("view", "as_strided", "slice", "select", "unsqueeze", "permute", "transpose", "unbind", "split", "detach"),
    "empty",
}


class Launches(TorchDispatchMode):
    """Counts what would start a kernel or a copy on the device, and the copies for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.waits = Counter(), Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        name = operation.overloadpacket.__name__
        tensors = [t for t in (result if isinstance(result, list | tuple) else [result]) if isinstance(t, Tensor)]
        if any(t.device == META for t in tensors) and name not in VIEWS:
            self.kernels[name] += 1
            from_host = any(isinstance(t, Tensor) and t.device.type == "cpu" for t in args)
            if name == "lift_fresh" or (name == "_to_copy" and from_host and not kwargs.get("non_blocking")):
                self.waits[name] += 1
        return result


def batches_of(recipe: str) -> Batches:
    """16 batches of 512 images of 32x32."""
    images = torch.zeros(8192, 32, 32, 3, dtype=torch.uint8)
    split = Split(images, torch.arange(8192) % 10)
    dataset = Dataset("grey", tuple("0123456789"), split, split, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    keys = {name.removeprefix("augment."): value for name, value in RECIPES[recipe]().items() if "augment." in name}
    defaults = {"randaugment_ops": 2, "resized_crop_ratio": [3 / 4, 4 / 3], "cutmix_share": 0.5}
    augmentation = Augmentation.of(defaults | keys, dataset, seed=0, n=8192)
    return Batches(split, dataset, 512, META, seed=0, augmentation=augmentation, n_classes=10)


@pytest.mark.parametrize(("recipe", "most"), [("fast", 4), ("base", 40), ("paper", 60)])
def test_a_batch_takes_few_launches_and_the_host_never_waits(recipe: str, most: int) -> None:
    _standard_noise(32 * 32 * 3, META)  # made and brought to the device once in a process
    batches = batches_of(recipe)
    with Launches() as launches:
        n = len(list(batches.epoch()))
    assert n == 16
    assert sum(launches.kernels.values()) / n <= most
    assert not launches.waits
