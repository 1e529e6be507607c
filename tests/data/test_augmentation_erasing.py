"""Random erasing and cutout: what is erased, by what, and how often."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise as noisy
from pictures import pictures
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from convmixer.data.augmentation.boxes import paste
from convmixer.data.augmentation.draws import uniform
from convmixer.data.augmentation.erasing import RATIO, SCALE, Cutout, Erasing, noise, plain

MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)


def test_a_box_is_erased_as_torchvision_does() -> None:
    @given(pictures, st.data())
    @settings(max_examples=30)
    def check(images: torch.Tensor, data: st.DataObject) -> None:
        height, width = images.shape[1:3]
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
        erased = paste(images, plain(images, MEAN), torch.tensor([[top, left, rows, columns]] * 5))
        value = torch.tensor([125, 123, 114], dtype=torch.uint8)[:, None, None]
        theirs = F.erase(images.permute(0, 3, 1, 2), top, left, rows, columns, value)
        assert torch.equal(erased, theirs.permute(0, 2, 3, 1))

    check()


@pytest.mark.parametrize("with_noise", [False, True])
def test_as_many_images_are_erased_as_the_probability_says_by_as_much_as_torchvision(with_noise: bool) -> None:
    operation = Erasing(0.25, with_noise, MEAN, STD)
    images = torch.full((20_000, 16, 16, 3), 7, dtype=torch.uint8)
    erased = (operation(images, uniform(20_000, operation.columns, 0)) != 7).any(3)
    share = erased.flatten(1).float().mean(1)
    assert (share > 0).float().mean().item() == pytest.approx(0.25, abs=0.02)

    torch.manual_seed(0)
    theirs = v2.RandomErasing(p=1.0, scale=SCALE, ratio=RATIO)
    drawn = [theirs.make_params([torch.zeros(3, 16, 16)]) for _ in range(3000)]
    areas = torch.tensor([each["h"] * each["w"] / 256 for each in drawn])
    assert share[share > 0].mean().item() == pytest.approx(areas.mean().item(), abs=0.02)


def test_noise_is_normal_with_the_datas_mean_and_deviation_and_each_images_own() -> None:
    images = torch.zeros(300, 32, 32, 3, dtype=torch.uint8)
    levels = noise(images, torch.rand(300, generator=torch.Generator().manual_seed(0)), MEAN, STD)
    standard = (levels - torch.tensor(MEAN)) / torch.tensor(STD)
    assert standard.mean(dim=(0, 1, 2)).abs().max() < 0.01
    assert (standard.std(dim=(0, 1, 2)) - 1).abs().max() < 0.01
    assert standard.min() < -4 and standard.max() > 4  # not cut off at 0 and 255
    assert len({tuple(image.flatten()[:4].tolist()) for image in levels}) == 300


def test_what_is_not_erased_stays_to_the_bit() -> None:
    images = noisy(50, 16, 16)
    operation = Erasing(0.5, True, MEAN, STD)
    erased = operation(images, uniform(50, operation.columns, 0))
    assert erased.dtype == torch.float32
    assert (erased == images).flatten(1).all(1).float().mean() > 0.3


@pytest.mark.parametrize("pixels", [1, 4, 7])
def test_cutout_is_a_square_of_the_mean_colour_cut_off_at_the_edges(pixels: int) -> None:
    images = torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
    centres = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.999, 0.999], [0.3, 0.6]])
    cut = Cutout(pixels, MEAN)(images, centres)
    areas = (cut != 0).any(3).sum((1, 2)).tolist()
    below, above = pixels // 2, pixels - pixels // 2
    assert areas == [pixels**2, above**2, (below + 1) ** 2 if below + 1 <= pixels else pixels**2, pixels**2]
    assert cut[0, 8, 8].tolist() == [125, 123, 114]


def test_boxes_without_height_hold_no_pixel() -> None:
    images = noisy(2)
    assert torch.equal(paste(images, images + 1, torch.zeros(2, 4, dtype=torch.long)), images)
