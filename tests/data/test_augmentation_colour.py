"""Operations on levels and colours against torchvision's on Pillow images, which timm uses too."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import by_pillow, noise, pictures
from timm.data import auto_augment as timm
from torchvision.transforms.v2 import functional as F

from convmixer.data.augmentation import blends, levels
from convmixer.data.augmentation.jitter import ORDERS, Jitter


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(levels.invert, F.invert), (levels.equalise, F.equalize)],
    ids=["invert", "equalise"],
)
def test_what_takes_no_argument_gives_torchvisions_levels(ours, theirs) -> None:
    @given(pictures)
    @settings(max_examples=50)
    def check(images: torch.Tensor) -> None:
        assert torch.equal(ours(images), by_pillow(images, lambda picture, _: theirs(picture)))

    check()


@given(pictures)
@settings(max_examples=50)
def test_auto_contrast_is_torchvisions_but_for_rounding_and_reaches_255(images: torch.Tensor) -> None:
    spread = levels.auto_contrast(images)
    theirs = by_pillow(images, lambda picture, _: F.autocontrast(picture))
    assert (spread.int() - theirs.int()).abs().max() <= 1
    several = images.amax((1, 2)) > images.amin((1, 2))
    assert (spread.amax((1, 2))[several] == 255).all() and (spread.amin((1, 2))[several] == 0).all()


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (levels.posterise, F.posterize, st.integers(1, 8)),
        (levels.solarise, F.solarize, st.floats(0, 255, width=32)),
        (levels.solarise_add, timm.solarize_add, st.integers(0, 127)),
    ],
    ids=["posterise", "solarise", "solarise-add"],
)
def test_each_image_by_its_own_argument_gives_their_levels(ours, theirs, arguments) -> None:
    @given(pictures, st.lists(arguments, min_size=5, max_size=5))
    @settings(max_examples=50)
    def check(images: torch.Tensor, each: list) -> None:
        expected = by_pillow(images, lambda picture, i: theirs(picture, each[i]))
        assert torch.equal(ours(images, torch.tensor(each)), expected)

    check()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (blends.brightness, F.adjust_brightness),
        (blends.contrast, F.adjust_contrast),
        (blends.colour, F.adjust_saturation),
        (blends.sharpness, F.adjust_sharpness),
    ],
    ids=["brightness", "contrast", "colour", "sharpness"],
)
def test_each_image_by_its_own_factor_gives_torchvisions_levels(ours, theirs) -> None:
    @given(pictures, st.lists(st.floats(0, 2, width=32), min_size=5, max_size=5))
    @settings(max_examples=50)
    def check(images: torch.Tensor, factors: list[float]) -> None:
        expected = by_pillow(images, lambda picture, i: theirs(picture, factors[i]))
        difference = (ours(images, torch.tensor(factors)).int() - expected.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 0.02

    check()


def test_jitter_is_brightness_contrast_and_colour_in_a_drawn_order() -> None:
    images = noise(6)
    draws = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    draws[:, 3] = torch.arange(6) / 6 + 0.01  # each of the orders once
    factors = 0.6 + 0.8 * draws
    jittered = Jitter(0.4)(images, draws)
    adjust = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation]

    def theirs(picture, i: int):
        for which in ORDERS[i].tolist():
            picture = adjust[which](picture, factors[i, which].item())
        return picture

    difference = (jittered.int() - by_pillow(images, theirs).int()).abs()
    assert difference.max() <= 2  # three roundings, each magnified by the factor of the next
    assert len({tuple(order) for order in ORDERS.tolist()}) == 6


def test_jitter_of_strength_0_changes_nothing() -> None:
    images = noise(4)
    assert torch.equal(Jitter(0.0)(images, torch.rand(4, 4)), images)


@pytest.mark.parametrize("operation", [partial(Jitter(0.4), draws=torch.rand(4, 4))])
def test_float_images_are_taken_as_their_nearest_levels(operation) -> None:
    images = noise(4)
    assert torch.equal(operation(images + 0.3), operation(images))
