"""What an augmented image depends on: seed, epoch and its index in the data set; not on the batch it is in."""

import pytest
import torch
from pictures import noise

from convmixer.configs.groups import AugmentConfigs
from convmixer.data.augmentation import MIXING, OPERATIONS, Augmentation, random_seed
from convmixer.data.augmentation.draws import uniform
from convmixer.data.batches import Batches
from convmixer.data.datasets import Dataset, Split
from convmixer.data.splits import measured

CPU = torch.device("cpu")
N = 41


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    split = Split(noise(N, 16, 16), torch.arange(N) % 5)
    return measured("noise", tuple("abcde"), split, split)


def augmentation(dataset: Dataset, *ops: str, seed: int = 5) -> Augmentation:
    """As a run has it that names these operations."""
    return Augmentation.of(_defaults() | {"ops": list(ops)}, dataset, seed, N)


def _defaults() -> dict:
    names = [name for name in AugmentConfigs.__annotations__ if name != "ops"]
    return {name: getattr(AugmentConfigs(), name) for name in names}


EVERYTHING = (*OPERATIONS, *MIXING)


@pytest.mark.parametrize("as_float", [False, True], ids=["uint8", "float"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_image_is_augmented_alike_in_any_batch(name: str, as_float: bool, dataset: Dataset) -> None:
    images = dataset.train.images.float() if as_float else dataset.train.images
    before = images.clone()
    some = augmentation(dataset, name)
    draws = some.draws(epoch=2)
    together = some(images, torch.arange(N), draws)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([some(images[i, None], i[None], draws) for i in order])
    assert torch.equal(alone, together[order])
    assert torch.equal(images, before)  # those given stay as they are
    assert not (together.shape == images.shape and torch.equal(together, images))


def seen(dataset: Dataset, size: int, epoch: int = 3, first: int = 0, seed: int = 5) -> tuple[torch.Tensor, ...]:
    """All images and labels of an epoch with every operation there is."""
    every = augmentation(dataset, *EVERYTHING, seed=seed)
    batches = Batches(dataset.train, dataset, size, CPU, seed=seed, augmentation=every)
    images, labels = zip(*batches.epoch(epoch, first), strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_the_batch_size_does_not_change_what_is_seen(size: int, dataset: Dataset) -> None:
    """Nor whom an image is mixed with, though its partner may be in another batch."""
    (images, labels), (others, other_labels) = seen(dataset, N), seen(dataset, size)
    assert torch.equal(images, others)
    assert torch.equal(labels, other_labels)


def test_an_epoch_begun_in_its_middle_goes_on_with_the_same_images(dataset: Dataset) -> None:
    (images, labels), (rest, rest_labels) = seen(dataset, 8), seen(dataset, 8, first=2)
    assert torch.equal(images[16:], rest)
    assert torch.equal(labels[16:], rest_labels)


def test_epochs_and_seeds_show_other_images(dataset: Dataset) -> None:
    images = seen(dataset, N)[0]
    assert torch.equal(images, seen(dataset, N)[0])
    assert not torch.equal(images, seen(dataset, N, epoch=4)[0])
    assert not torch.equal(images, seen(dataset, N, seed=6)[0])


def test_mixed_labels_are_probabilities_of_two_classes(dataset: Dataset) -> None:
    _, labels = seen(dataset, 8)
    assert labels.shape == (N, 5)
    torch.testing.assert_close(labels.sum(1), torch.ones(N))
    assert ((labels > 0).sum(1) <= 2).all()
    assert (labels.max(1).values < 1).any()


def test_epochs_seeds_and_operations_draw_differently() -> None:
    places = [(0, 0, "flip"), (0, 1, "flip"), (1, 0, "flip"), (0, 0, "translate")]
    assert len({random_seed(*place) for place in places}) == len(places)
    draws = [uniform(10, 2, *place) for place in places]
    assert all(not torch.equal(draws[0], other) for other in draws[1:])
    assert torch.equal(draws[0], uniform(10, 2, 0, 0, "flip"))


def test_the_default_augmentation_shows_what_it_showed_before_there_was_more() -> None:
    """Trained runs can be repeated: draws of these two, and the images they give, are kept for ever."""
    split = Split(noise(6, 8, 8), torch.arange(6) % 2)
    data = measured("noise", ("a", "b"), split, split)
    some = Augmentation.of(_defaults() | {"ops": ["translate", "flip"]}, data, 0, 6)
    images = some(split.images, torch.arange(6), some.draws(1))
    assert images.long().mul(torch.arange(images.numel()).view(images.shape)).sum().item() == EXPECTED


EXPECTED = 81706951
