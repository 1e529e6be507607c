"""Flips, shifts and resized crops against torchvision's, and what the random ones draw."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise, pictures
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from convmixer.data.augmentation import boxes
from convmixer.data.augmentation.crops import ResizedCrop, SmallCrop, enlarge, translate
from convmixer.data.augmentation.draws import uniform
from convmixer.data.augmentation.flips import AlternatingFlip, Flip, flip


def test_flip_mirrors_where_the_draw_is_below_a_half() -> None:
    images = noise(2)
    flipped = Flip()(images, torch.tensor([[0.2, 0.0], [0.7, 0.0]]))
    assert torch.equal(flipped[0], images[0].flip(1))
    assert torch.equal(flipped[1], images[1])


def test_flips_of_float_images_and_of_odd_sizes() -> None:
    images = noise(2, 5, 7).float()
    assert torch.equal(flip(images, torch.tensor([True, False]))[0], images[0].flip(1))


def test_alternating_flip_shows_each_image_both_ways_in_any_two_epochs() -> None:
    operation, images = AlternatingFlip(), noise(1000, 2, 2)
    epochs = [operation(images, operation.draw(1000, 3, epoch, "alternating_flip")) for epoch in range(4)]
    for first, second in pairwise(epochs):
        assert torch.equal(first, second.flip(2))
    mirrored = (epochs[0] != images).flatten(1).any(1)
    assert 0.4 < mirrored.float().mean() < 0.6


@given(st.integers(0, 7), st.floats(0, 0.999), st.floats(0, 0.999), st.booleans())
def test_translate_is_a_crop_of_the_image_padded_by_reflection(
    pixels: int, down: float, right: float, as_float: bool
) -> None:
    images = noise(1).float() if as_float else noise(1)
    moved = translate(images, torch.tensor([[down, right]]), pixels)
    padded = F.pad(images.permute(0, 3, 1, 2).float(), (pixels,) * 4, mode="reflect")
    draws = torch.tensor([down, right])
    top, left = (draws * (2 * pixels + 1)).long().tolist()
    crop = padded[:, :, top : top + 8, left : left + 8].permute(0, 2, 3, 1)
    assert moved.dtype == images.dtype
    assert torch.equal(moved.float(), crop)


def test_translate_takes_images_that_are_not_square() -> None:
    images = noise(3, 6, 9)
    assert torch.equal(translate(images, torch.full((3, 2), 0.5), 2), images)  # no shift
    down = translate(images, torch.tensor([[0.99, 0.5]] * 3), 2)
    assert torch.equal(down[:, :4], images[:, 2:])


def test_every_shift_is_drawn_about_equally_often() -> None:
    shifts = (uniform(90_000, 2, 0) * 9).long().flatten().bincount()
    assert len(shifts) == 9
    assert (shifts / 20_000 - 1).abs().max() < 0.05


@given(pictures, st.floats(0.01, 1), st.integers(1, 4), st.integers(0, 99), st.booleans())
def test_a_small_crop_is_a_part_of_the_image(
    images: torch.Tensor, share: float, patch_size: int, seed: int, as_float: bool
) -> None:
    images, crop = images.float() if as_float else images, SmallCrop(share, patch_size)
    parts = crop(images, uniform(len(images), 2, seed))
    height, width = parts.shape[1:3]
    assert (height, width) == crop.shape(*images.shape[1:3])
    assert height % patch_size == width % patch_size == 0
    assert abs(height - share * images.shape[1]) <= patch_size and abs(width - share * images.shape[2]) <= patch_size
    for image, part in zip(images, parts, strict=True):
        windows = image.unfold(0, height, 1).unfold(1, width, 1)  # [rows, columns, channels, height, width]
        assert (windows == part.permute(2, 0, 1)).flatten(2).all(2).any()


def test_small_crops_are_taken_from_every_place_about_equally_often() -> None:
    places = torch.arange(8 * 6, dtype=torch.float32).view(1, 8, 6, 1).expand(20_000, 8, 6, 1)
    corners = SmallCrop(0.5)(places, uniform(20_000, 2, 0))[:, 0, 0, 0].long().bincount()
    assert corners.nonzero().flatten().tolist() == [6 * row + column for row in range(5) for column in range(4)]
    assert (corners[corners > 0] * 20 / 20_000 - 1).abs().max() < 0.15


@given(pictures, st.data())
@settings(max_examples=60)
def test_a_part_is_enlarged_as_torchvision_does(images: torch.Tensor, data: st.DataObject) -> None:
    height, width = images.shape[1:3]
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = data.draw(st.integers(0, height - rows)), data.draw(st.integers(0, width - columns))
    enlarged = enlarge(images, torch.tensor([[top, left, rows, columns]] * len(images)))
    theirs = V.resized_crop(images.permute(0, 3, 1, 2), top, left, rows, columns, [height, width], antialias=True)
    assert (enlarged.int() - theirs.permute(0, 2, 3, 1).int()).abs().max() <= 1


def test_each_image_has_a_part_of_its_own() -> None:
    images = noise(3, 8, 8)
    parts = torch.tensor([[0, 0, 8, 8], [1, 2, 4, 4], [3, 0, 2, 7]])
    together = enlarge(images, parts)
    assert torch.equal(together[0], images[0])
    for i in range(3):
        assert torch.equal(together[i], enlarge(images[i : i + 1], parts[i : i + 1])[0])


@pytest.mark.parametrize("scale", [(0.75, 1.0), (0.08, 1.0), (0.3, 0.3)])
def test_parts_are_distributed_as_torchvisions(scale: tuple[float, float]) -> None:
    """Mean and deviation of place and size, over some thousand draws, beside those of RandomResizedCrop."""
    ratio = (3 / 4, 4 / 3)
    ours, _ = boxes.random_boxes(uniform(20_000, boxes.DRAWS, 1), scale, ratio, 32, 32)
    torch.manual_seed(0)
    crop, image = v2.RandomResizedCrop(32, scale=scale, ratio=ratio), torch.zeros(3, 32, 32)
    drawn = [crop.make_params([image]) for _ in range(3000)]
    theirs = torch.tensor([[each[name] for name in ("top", "left", "height", "width")] for each in drawn])
    ours, theirs = ours.float(), theirs.float()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 0.35).all()
    assert ((ours.std(0) - theirs.std(0)).abs() < 0.35).all()


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1), st.floats(0.2, 5))
def test_parts_lie_within_the_image(seed: int, height: int, width: int, scale: float, ratio: float) -> None:
    parts, _ = boxes.random_boxes(
        uniform(50, boxes.DRAWS, seed), (scale, 1.0), (min(ratio, 1.0), max(ratio, 1.0)), height, width
    )
    top, left, rows, columns = parts.unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (rows >= 1).all() and (columns >= 1).all()
    assert (top + rows <= height).all() and (left + columns <= width).all()


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    images = noise(8, 32, 32)
    operation = ResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert torch.equal(operation(images, uniform(8, operation.columns, 0)), images)
