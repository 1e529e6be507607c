"""TrivialAugment, AugMix and 3-Augment against torchvision's, with the same arguments."""

import pytest
import torch
from pictures import noise
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from convmixer.data.augmentation.augmix import STRENGTHS, AugMix, mild
from convmixer.data.augmentation.draws import uniform
from convmixer.data.augmentation.randaugment import IDENTITY, Choice, torchvision_choices
from convmixer.data.augmentation.three_augment import REACH, ThreeAugment, gaussian_blur
from convmixer.data.augmentation.trivial_augment import FARTHEST, TrivialAugment, wide

NAMES = list(torchvision_choices(3, (1, 1)))
THEIR_NAMES = {
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "colour": "Color",
    "auto_contrast": "AutoContrast",
    "posterise": "Posterize",
    "solarise": "Solarize",
    "equalise": "Equalize",
}
PARTS_OF_255 = ("solarise",)  # in torchvision's second version
ENHANCED = ("brightness", "colour", "contrast", "sharpness")  # torchvision gives the change, we the factor


def arguments(name: str, choice: Choice, strengths: int) -> torch.Tensor:
    found = choice.argument(torch.arange(strengths) / (strengths - 1)).float()
    if name in PARTS_OF_255:
        return found / 255
    return found - 1 if name in ENHANCED else found


def slack(name: str) -> float:
    """Shifts are whole pixels; torchvision cuts them off when it shifts."""
    return 0.9999 if name.startswith("translate") else 2e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_wide_set_takes_torchvisions_arguments(name: str) -> None:
    choice = wide(3)[NAMES.index(name)]
    magnitudes, signed = v2.TrivialAugmentWide._AUGMENTATION_SPACE[THEIR_NAMES.get(name, name.capitalize())]
    expected = magnitudes(31, 32, 32)
    assert choice.signed == signed
    if expected is None:
        assert choice is IDENTITY or name in ("auto_contrast", "equalise")
    else:
        torch.testing.assert_close(arguments(name, choice, 31), expected.float(), rtol=0, atol=slack(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "identity"])
def test_the_mild_set_takes_torchvisions_arguments(name: str) -> None:
    choice = mild(3, 30, 24)[NAMES.index(name) - 1]
    space = v2.AugMix._AUGMENTATION_SPACE
    assert len(space) == len(NAMES) - 1
    magnitudes, signed = space[THEIR_NAMES.get(name, name.capitalize())]
    expected = magnitudes(STRENGTHS, 30, 24)
    assert choice.signed == signed
    if expected is not None:
        torch.testing.assert_close(arguments(name, choice, STRENGTHS), expected.float(), rtol=0, atol=slack(name))


def test_trivial_augment_draws_each_operation_and_each_strength_equally_often() -> None:
    seen: list[torch.Tensor] = []
    noted = Choice(lambda images, strength: seen.append(strength) or images)
    operation = TrivialAugment([noted] * 4)
    operation(noise(6000, 2, 2), uniform(6000, operation.columns, 0))
    assert [len(each) for each in seen] == pytest.approx([1500] * 4, abs=150)
    counts = torch.cat(seen).mul(30).round().long().bincount()
    assert len(counts) == 31 and counts.tolist() == pytest.approx([6000 / 31] * 31, abs=60)
    assert FARTHEST == 32


def test_augmix_without_change_gives_the_image() -> None:
    operation = AugMix([IDENTITY] * 5, severity=3)
    images = noise(50)
    mixed = operation(images, uniform(50, operation.columns, 0))
    assert (mixed.int() - images.int()).abs().max() <= 1  # shares sum to 1 within rounding


def test_augmix_mixes_by_shares_that_are_uniform_for_the_image_itself() -> None:
    operation = AugMix([Choice(lambda images, _: torch.zeros_like(images))], severity=3)  # all chains are black
    white = torch.full((4000, 2, 2, 3), 255, dtype=torch.uint8)
    share = operation(white, uniform(4000, operation.columns, 0))[:, 0, 0, 0].float() / 255
    for quantile in (0.1, 0.5, 0.9):
        assert share.quantile(quantile).item() == pytest.approx(quantile, abs=0.03)


def test_augmix_draws_the_weakest_strengths() -> None:
    seen: list[torch.Tensor] = []
    noted = Choice(lambda images, strength: seen.append(strength) or images)
    operation = AugMix([noted], severity=3)
    operation(noise(1000, 2, 2), uniform(1000, operation.columns, 0))
    strengths = torch.cat(seen).mul(STRENGTHS - 1).round()
    assert strengths.unique().tolist() == [0, 1, 2]
    assert len(strengths) / 3000 == pytest.approx(2, abs=0.05)  # 1 to 3 operations in each of 3 chains


@pytest.mark.parametrize("deviation", [0.1, 0.7, 2.0])
def test_blur_is_torchvisions(deviation: float) -> None:
    images = noise(4, 17, 20)
    expected = F.gaussian_blur(images.permute(0, 3, 1, 2), [2 * REACH + 1] * 2, [deviation] * 2).permute(0, 2, 3, 1)
    blurred = gaussian_blur(images, torch.full((4,), deviation))
    assert (blurred.int() - expected.int()).abs().max() <= 1


def test_three_augment_is_grey_solarised_or_blurred_a_third_each() -> None:
    images = noise(900, 9, 9)
    changed = ThreeAugment()(images, uniform(900, 2, 0))
    grey = (changed == changed[..., :1]).flatten(1).all(1)
    solarised = (changed == torch.where(images < 128, images, 255 - images)).flatten(1).all(1)
    assert grey.sum().item() == pytest.approx(300, abs=50) and solarised.sum().item() == pytest.approx(300, abs=50)
    assert not (grey & solarised).any()
    i = int(grey.nonzero()[0])
    expected = F.rgb_to_grayscale(images[i].permute(2, 0, 1))[0]
    assert (changed[i, ..., 0].int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("operation", [TrivialAugment(wide(3)), AugMix(mild(3, 12, 9), 3), ThreeAugment()])
def test_images_are_changed_by_themselves(operation) -> None:
    images, draws = noise(40, 12, 9), uniform(40, operation.columns, 0)
    together = operation(images, draws)
    alone = torch.cat([operation(images[i : i + 1], draws[i : i + 1]) for i in range(40)])
    assert torch.equal(together, alone)
    assert (together != images).flatten(1).any(1).float().mean() > 0.5
