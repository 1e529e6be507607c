"""Batches: every image once an epoch, shuffled by seed and epoch, normalised as torchvision would."""

import pytest
import torch
from torchvision.transforms import v2

from convmixer.data import cache
from convmixer.data.augmentation import Augmentation
from convmixer.data.augmentation.crops import Translate
from convmixer.data.augmentation.flips import Flip
from convmixer.data.augmentation.mixing import Mixing
from convmixer.data.batches import Batches
from convmixer.data.datasets import Dataset, Split
from convmixer.data.splits import measured, split_validation

CPU = torch.device("cpu")


@pytest.fixture
def dataset() -> Dataset:
    images = torch.randint(0, 256, (50, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(50))  # each image is its own class, so that labels tell them apart
    return measured("numbers", tuple(map(str, range(50))), split, split)


def batches(dataset: Dataset, size: int = 16, **options) -> Batches:
    return Batches(dataset.train, dataset, size, CPU, **options)


def labels(some: Batches, epoch: int, first: int = 0) -> list[int]:
    return [label for _, batch in some.epoch(epoch, first) for label in batch.tolist()]


def test_every_image_comes_once_an_epoch_in_another_order_each(dataset) -> None:
    shuffled = batches(dataset, seed=3)
    first, second = labels(shuffled, 0), labels(shuffled, 1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50))
    assert first == labels(batches(dataset, seed=3), 0)
    assert first != labels(batches(dataset, seed=4), 0)
    assert [len(batch) for _, batch in shuffled.epoch()] == [16, 16, 16, 2]
    assert len(shuffled) == 4


def test_an_epoch_can_be_begun_in_its_middle(dataset) -> None:
    shuffled = batches(dataset, seed=3, augmentation=Augmentation({"flip": Flip()}, 3, 50))
    whole = list(shuffled.epoch(1))
    rest = list(shuffled.epoch(1, first=2))
    assert len(rest) == 2
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[2:], rest, strict=True))


def test_the_batch_size_does_not_change_what_is_seen(dataset) -> None:
    """Same order and same augmented pixels, however an epoch is cut."""

    def pixels(size: int) -> torch.Tensor:
        augmentation = Augmentation({"translate": Translate(2), "flip": Flip()}, 3, 50)
        return torch.cat([x for x, _ in batches(dataset, size, seed=3, augmentation=augmentation).epoch(4)])

    assert torch.equal(pixels(7), pixels(50))


def test_images_are_normalised_as_torchvision_does(dataset) -> None:
    (images, _), *_ = batches(dataset).epoch()
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(dataset.mean, dataset.std)])
    torch.testing.assert_close(images, reference(dataset.train.images[:16].permute(0, 3, 1, 2)))
    assert images.shape == (16, 3, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mixing", [None, Mixing(0.5, 0.5, 0.5)], ids=["plain", "mixed"])
def test_images_that_stay_in_their_file_come_to_the_same_bits(tmp_path, mixing) -> None:
    images = torch.randint(0, 256, (50, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(50) % 5)
    dataset = measured("numbers", tuple(map(str, range(5))), split, split)
    cache.save(tmp_path, "one", "numbers", dataset)
    mapped = cache.load(tmp_path, "numbers", "one")
    epochs = []
    for where, resident in ((dataset, True), (mapped, False)):
        train, valid = split_validation(where.train, 10, seed=5)
        augmentation = Augmentation({"translate": Translate(2)}, 3, 40, mixing)
        options = {"seed": 3, "augmentation": augmentation, "n_classes": 5, "resident": resident}
        shuffled = Batches(train, where, 16, CPU, **options)
        plain = Batches(valid, where, 16, CPU, resident=resident)
        epochs.append([*shuffled.epoch(1), *plain.epoch()])
    for (images, labels), (other_images, other_labels) in zip(*epochs, strict=True):
        assert torch.equal(images, other_images) and torch.equal(labels, other_labels)
