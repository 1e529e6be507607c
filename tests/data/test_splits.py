import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convmixer.data.splits import Split, channel_statistics, measured, split_validation, train_and_valid
from convmixer.errors import UserError


def labelled(labels: list[int]) -> Split:
    """One-pixel images that hold their own index in three bytes, so that each can be told from the others."""
    index = torch.arange(len(labels))
    images = torch.stack([index & 255, index >> 8 & 255, index >> 16], -1).to(torch.uint8)
    return Split(images.view(-1, 1, 1, 3), torch.tensor(labels))


def indices(split: Split) -> list[int]:
    return (split.images.view(-1, 3).long() @ torch.tensor([1, 256, 65536])).tolist()


splits = st.lists(st.integers(0, 4), min_size=2, max_size=300).flatmap(
    lambda labels: st.tuples(st.just(labels), st.integers(0, len(labels) - len(set(labels))), st.integers(0, 2**40))
)


@given(splits)
def test_validation_is_a_stratified_part_of_train(case):
    labels, size, seed = case
    train, valid = split_validation(labelled(labels), size, seed)

    assert sorted(indices(train) + indices(valid)) == list(range(len(labels)))
    assert len(valid.labels) == size
    for label in set(labels):
        there, taken = labels.count(label), (valid.labels == label).sum().item()
        share = there * size / len(labels)
        assert taken < there
        assert taken == there - 1 < share or abs(taken - share) < 1 or _others_could_not(labels, size)
    for split in (train, valid):
        assert split.labels.tolist() == [labels[i] for i in indices(split)]


def _others_could_not(labels: list[int], size: int) -> bool:
    """True if a class's share would be all of it, so that others give more than theirs."""
    counts = [labels.count(label) for label in set(labels)]
    return any(count * size / len(labels) > count - 1 for count in counts)


def test_every_class_keeps_an_image_to_train_on():
    """A class of one image is rounded up to all of it otherwise."""
    train, valid = split_validation(labelled([0] + [1] * 999), 500, 0)
    assert len(valid.labels) == 500 and set(train.labels.tolist()) == {0, 1}
    labels = [i % 1000 for i in range(2000)]
    train, valid = split_validation(labelled(labels), 1000, 0)
    assert set(train.labels.tolist()) == set(valid.labels.tolist()) == set(range(1000))


def test_more_validation_images_than_classes_can_give_are_refused():
    with pytest.raises(UserError, match=r"validation=1500: expected 0 to 1000: .* 2,000 .* each of the 1,000 classes"):
        split_validation(labelled([i % 1000 for i in range(2000)]), 1500, 0)


def test_labels_that_no_image_has_keep_none():
    train, valid = split_validation(labelled([0, 0, 0, 7, 7]), 3, 0)
    assert sorted(train.labels.tolist()) == [0, 7] and sorted(valid.labels.tolist()) == [0, 0, 7]


@given(splits)
def test_the_same_seed_gives_the_same_split(case):
    labels, size, seed = case
    once, again = (split_validation(labelled(labels), size, seed)[1] for _ in range(2))
    assert indices(once) == indices(again)


def test_another_seed_gives_another_split():
    labels = [0, 1] * 500
    assert indices(split_validation(labelled(labels), 100, 0)[1]) != indices(
        split_validation(labelled(labels), 100, 1)[1]
    )


@pytest.mark.parametrize("size", [-1, 3, 4, 5])
def test_a_size_that_leaves_nothing_to_train_on_is_refused(size):
    with pytest.raises(UserError, match=rf"data\.validation={size}: expected 0 to 2"):
        split_validation(labelled([0, 1, 0, 1]), size, 0)


def test_statistics_are_those_of_the_pixels():
    images = torch.randint(0, 256, (50, 8, 8, 3), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    pixels = images.double().view(-1, 3) / 255
    torch.testing.assert_close(torch.tensor(mean), pixels.mean(0).float())
    torch.testing.assert_close(torch.tensor(std), pixels.std(0, correction=0).float())


def test_statistics_are_of_the_training_images_alone():
    dark, bright = (Split(torch.full((2, 4, 4, 3), v, dtype=torch.uint8), torch.tensor([0, 1])) for v in (0, 255))
    assert measured("two", ("a", "b"), train=dark, test=bright).mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("n", "held_out"), [(3, 1), (50, 5), (9_999, 1000), (10_000, 5000), (50_000, 5000)])
def test_without_a_number_5000_are_held_out_or_a_tenth(n, held_out, caplog):
    """Small data sets would have nothing left to train on; the number is said where it is not the usual one."""
    caplog.set_level("INFO", "convmixer")
    split = labelled([i % 2 for i in range(n)])
    train, valid = train_and_valid(measured("mine", ("a", "b"), split, split), None, 0)
    assert (len(valid.labels), len(train.labels)) == (held_out, n - held_out)
    assert (f"(data.validation={held_out})" in caplog.text) == (held_out != 5000)
