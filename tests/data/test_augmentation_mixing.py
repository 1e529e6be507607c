"""Mixup and cutmix against torchvision's: pixels and labels; and who is mixed with whom."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import noise
from torchvision.transforms import v2

from convmixer.data.augmentation.mixing import Mixing, cutmix, cutmix_boxes, mix_labels, mixup, partners


def batch(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    return noise(n, 12, 10), torch.arange(n) % 4


def theirs(transform: v2.Transform, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """torchvision mixes each image with the one before it, and the whole batch alike."""
    mixed, mixed_labels = transform(images.float().permute(0, 3, 1, 2), labels)
    return mixed.permute(0, 2, 3, 1), mixed_labels


@given(st.integers(0, 2**31))
def test_mixup_is_torchvisions(seed: int) -> None:
    images, labels = batch()
    transform = v2.MixUp(alpha=0.8, num_classes=4)
    torch.manual_seed(seed)
    share = transform._dist.sample(()).float().expand(6)
    torch.manual_seed(seed)
    expected, expected_labels = theirs(transform, images, labels)
    torch.testing.assert_close(mixup(images, images.roll(1, 0), share), expected, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(mix_labels(labels, labels.roll(1), share, 4), expected_labels)


@given(st.integers(0, 2**31))
def test_cutmix_is_torchvisions(seed: int) -> None:
    images, labels = batch()
    transform = v2.CutMix(alpha=1.0, num_classes=4)
    torch.manual_seed(seed)
    share = transform._dist.sample(()).float()
    column, row = torch.randint(10, (1,)), torch.randint(12, (1,))
    torch.manual_seed(seed)
    expected, expected_labels = theirs(transform, images, labels)

    centre = torch.cat([(row + 0.5) / 12, (column + 0.5) / 10])
    parts = cutmix_boxes(share.expand(6), centre.expand(6, 2), 12, 10)
    assert torch.equal(cutmix(images, images.roll(1, 0), parts).float(), expected)
    kept = 1 - parts[:, 2] * parts[:, 3] / 120
    torch.testing.assert_close(mix_labels(labels, labels.roll(1), kept, 4), expected_labels)


@pytest.mark.parametrize(("mixup", "cutmix", "expected"), [(0.5, None, 0.0), (None, 0.5, 1.0), (0.5, 1.0, 0.3)])
def test_each_image_is_mixed_one_way_or_the_other(mixup, cutmix, expected: float) -> None:
    """By black with white: what is mixed up is grey, what is cut is black or white."""
    mixing = Mixing(mixup, cutmix, cutmix_share=0.3)
    black = torch.zeros(4000, 8, 8, 3, dtype=torch.uint8)
    mixed, share = mixing(black, black + 255, mixing.draw(4000, 0, 0))
    white = mixed.float().mean((1, 2, 3)) / 255
    torch.testing.assert_close(white, 1 - share, atol=1e-5, rtol=0)  # labels are mixed as pixels are
    both_levels = ((mixed == 0) | (mixed == 255)).flatten(1).all(1)
    certain = (share > 0.01) & (share < 0.99)  # beyond, the two look alike
    if expected in (0.0, 1.0):
        assert both_levels[certain].float().mean() == expected
    else:
        by_cutmix = mixing.draw(4000, 0, 0)[:, 2] < 0.3
        assert torch.equal(both_levels[certain], by_cutmix[certain])
        assert by_cutmix.float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_shares_are_drawn_from_the_beta_distribution() -> None:
    share = Mixing(0.5, None).draw(50_000, 0, 0)[:, 0]
    wanted = torch.distributions.Beta(0.5, 0.5)
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert share.std().item() == pytest.approx(wanted.stddev.item(), abs=0.01)


@given(st.permutations(range(9)), st.integers(1, 9))
def test_partners_are_neighbours_in_the_epochs_order(order: list[int], n: int) -> None:
    order = torch.tensor(order[:n])
    whom = partners(order)
    place = {image: i for i, image in enumerate(order.tolist())}
    for image, other in zip(order.tolist(), whom.tolist(), strict=True):
        assert whom[place[other]] == image  # either is the other's
        assert abs(place[image] - place[other]) == 1 or place[image] == n - 1
