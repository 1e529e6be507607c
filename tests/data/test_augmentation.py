"""Augmentation against torchvision's and torch's own operations, and what its draws depend on."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from convmixer.data.augmentation import Augmentation, flip, random_seed, translate, uniform


def some_images(n: int, size: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_flip_mirrors_where_the_draw_is_below_a_half() -> None:
    images = some_images(2)
    flipped = flip(images, torch.tensor([[0.2, 0.0], [0.7, 0.0]]), 0)
    assert torch.equal(flipped[0], images[0].flip(1))
    assert torch.equal(flipped[1], images[1])


@given(st.integers(0, 7), st.floats(0, 0.999), st.floats(0, 0.999))
def test_translate_is_a_crop_of_the_image_padded_by_reflection(pixels: int, down: float, right: float) -> None:
    images = some_images(1)
    moved = translate(images, torch.tensor([[down, right]]), pixels)
    padded = F.pad(images.permute(0, 3, 1, 2).float(), (pixels,) * 4, mode="reflect")
    draws = torch.tensor([down, right])
    top, left = (draws * (2 * pixels + 1)).long().tolist()
    crop = padded[:, :, top : top + 8, left : left + 8].permute(0, 2, 3, 1)
    assert torch.equal(moved.float(), crop)


def test_every_shift_is_drawn_about_equally_often() -> None:
    shifts = (uniform(90_000, 2, 0) * 9).long().flatten().bincount()
    assert len(shifts) == 9
    assert (shifts / 20_000 - 1).abs().max() < 0.05


def test_an_image_is_augmented_alike_in_any_batch() -> None:
    """The draw of an image depends on seed, epoch, operation and its index; not on its neighbours."""
    images = some_images(50)
    augmentation = Augmentation(["translate", "flip"], 3, seed=5, n=50)
    draws = augmentation.draws(epoch=2, device=torch.device("cpu"))
    together = augmentation(images, torch.arange(50), draws)
    order = torch.randperm(50)
    alone = torch.cat([augmentation(images[i, None], i[None], draws) for i in order])
    assert torch.equal(alone, together[order])


def test_epochs_seeds_and_operations_draw_differently() -> None:
    places = [(0, 0, "flip"), (0, 1, "flip"), (1, 0, "flip"), (0, 0, "translate")]
    assert len({random_seed(*place) for place in places}) == len(places)
    draws = [uniform(10, 2, *place) for place in places]
    assert all(not torch.equal(draws[0], other) for other in draws[1:])
    assert torch.equal(draws[0], uniform(10, 2, 0, 0, "flip"))


def test_images_given_are_not_modified() -> None:
    images = some_images(4)
    before = images.clone()
    augmentation = Augmentation(["translate", "flip"], 4, seed=0, n=4)
    augmentation(images, torch.arange(4), augmentation.draws(0, torch.device("cpu")))
    assert torch.equal(images, before)
