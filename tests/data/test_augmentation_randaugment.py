"""RandAugment and its geometric operations against torchvision's and timm's, with the same arguments."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import by_pillow, noise, pictures
from PIL import Image
from timm.data import auto_augment as timm
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from convmixer.data.augmentation import affine
from convmixer.data.augmentation.draws import uniform
from convmixer.data.augmentation.randaugment import RandAugment, increasing, torchvision

MEAN = (0.49, 0.48, 0.45)
FILL = (125.0, 122.0, 115.0)


def odd(limit: int, unit: float) -> st.SearchStrategy[float]:
    """Numbers that bring no place exactly to the border between two pixels, which might be taken for either."""
    return st.integers(-limit, limit).map(lambda number: (number + 0.4142) * unit)


# By torchvision, whose translation goes the other way.
GEOMETRY = {
    "rotate": (affine.rotate, odd(450, 0.1), lambda x, a, **k: F.rotate(x, a, **k)),
    "shear_x": (affine.shear_x, odd(400, 0.001), lambda x, a, **k: _shear(x, [_degrees(a), 0.0], **k)),
    "shear_y": (affine.shear_y, odd(400, 0.001), lambda x, a, **k: _shear(x, [0.0, _degrees(a)], **k)),
    "translate_x": (affine.translate_x, st.integers(-6, 6), lambda x, a, **k: _translate(x, [-a, 0], **k)),
    "translate_y": (affine.translate_y, st.integers(-6, 6), lambda x, a, **k: _translate(x, [0, -a], **k)),
}


def _degrees(share: float) -> float:
    return math.degrees(math.atan(share))


def _shear(image: torch.Tensor, shear: list[float], **options) -> torch.Tensor:
    return F.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0], **options)


def _translate(image: torch.Tensor, translate: list[int], **options) -> torch.Tensor:
    return F.affine(image, angle=0.0, translate=translate, scale=1.0, shear=[0.0, 0.0], **options)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_is_torchvisions(name: str, interpolation: str) -> None:
    ours, arguments, theirs = GEOMETRY[name]

    @given(pictures, st.lists(arguments, min_size=5, max_size=5))
    @settings(max_examples=30)
    def check(images: torch.Tensor, each: list) -> None:
        fill = torch.tensor(FILL)
        result = ours(images, torch.tensor(each), interpolation, FILL)
        # Outside, torchvision's bilinear operation mixes a fill in twice: it gets the difference to the fill, and 0.
        planes = (images - fill).permute(0, 3, 1, 2)
        mode = InterpolationMode(interpolation)
        expected = [theirs(plane[None], a, interpolation=mode) for plane, a in zip(planes, each, strict=True)]
        expected = (torch.cat(expected).permute(0, 2, 3, 1) + fill).round()
        differing = (result.float() - expected).abs() > 1
        assert differing.float().mean() < 0.005  # a place so near a border that it is taken for either pixel

    check()


def argument(name: str, magnitude: float, choices=increasing) -> float:
    """What an operation of the set is given at a magnitude."""
    chosen = choices(MEAN, 32, 32)
    strength = torch.tensor([magnitude / chosen.largest_magnitude])
    return chosen.choices[name].argument(strength).item()


TIMM = {
    "rotate": timm._rotate_level_to_arg,
    "posterise": timm._posterize_increasing_level_to_arg,
    "solarise": timm._solarize_increasing_level_to_arg,
    "solarise_add": timm._solarize_add_level_to_arg,
    "colour": timm._enhance_increasing_level_to_arg,
    "contrast": timm._enhance_increasing_level_to_arg,
    "brightness": timm._enhance_increasing_level_to_arg,
    "sharpness": timm._enhance_increasing_level_to_arg,
    "shear_x": timm._shear_level_to_arg,
    "shear_y": timm._shear_level_to_arg,
}


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("magnitude", [0, 1, 4, 5.5, 9, 10])
def test_the_increasing_set_takes_timms_arguments(name: str, magnitude: float, monkeypatch) -> None:
    monkeypatch.setattr(timm, "_randomly_negate", lambda value: value)
    assert argument(name, magnitude) == pytest.approx(TIMM[name](magnitude, {})[0], abs=1e-4)


def test_the_increasing_set_has_timms_operations() -> None:
    ours = [name.replace("_", "") for name in increasing(MEAN, 32, 32).choices]
    theirs = [name.replace("Increasing", "").replace("Rel", "") for name in timm._RAND_INCREASING_TRANSFORMS]
    american = {"equalise": "equalize", "posterise": "posterize", "solarise": "solarize", "colour": "color"}
    american["solariseadd"] = "solarizeadd"
    assert [american.get(name, name) for name in ours] == [name.lower() for name in theirs]


THEIR_NAMES = {"colour": "Color", "posterise": "Posterize", "solarise": "Solarize", "equalise": "Equalize"}


@pytest.mark.parametrize("magnitude", [0, 1, 7, 12, 30])
def test_the_torchvision_set_is_torchvisions(magnitude: int) -> None:
    """Every operation on real arguments, both directions: torchvision's own dispatch is the reference."""
    images = noise(6, 32, 32)
    theirs = v2.RandAugment()
    chosen = torchvision(MEAN, 32, 32)
    by_lower = {name.lower(): space for name, space in theirs._AUGMENTATION_SPACE.items()}
    assert len(chosen.choices) == len(by_lower) == 14
    for name, choice in chosen.choices.items():
        their_name = THEIR_NAMES.get(name, name.replace("_", "")).lower()
        magnitudes, signed = by_lower[their_name]
        assert choice.signed == signed
        exact = next(key for key in theirs._AUGMENTATION_SPACE if key.lower() == their_name)
        levels = magnitudes(31, 32, 32)
        for sign in (1, -1) if signed else (1,):
            value = sign * float(levels[magnitude]) if levels is not None else 0.0
            # Translation goes the other way, which for a random sign is the same.
            ours = -sign if their_name.startswith("translate") else sign
            given_argument = choice.argument(torch.full((6,), ours * magnitude / 30))
            result = choice.operation(images, given_argument)
            operate = partial(
                theirs._apply_image_or_video_transform,
                transform_id=exact,
                magnitude=value,
                interpolation=InterpolationMode.NEAREST,
                fill={Image.Image: [0.0] * 3, torch.Tensor: [0.0] * 3},
            )
            if name in GEOMETRY:
                expected = operate(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            else:
                expected = by_pillow(images, lambda picture, _, operate=operate: operate(picture))
            different = (result.int() - expected.int()).abs() > 1
            assert different.float().mean() < 0.01, (name, sign)


def test_magnitudes_are_normal_within_the_sets_range() -> None:
    seen: list[torch.Tensor] = []
    chosen = increasing(MEAN, 8, 8)
    for name, choice in chosen.choices.items():
        noted = choice._replace(operation=lambda x, a: seen.append(a) or x, argument=lambda s: s, signed=False)
        chosen.choices[name] = noted
    operation = RandAugment(chosen, n=2, magnitude=9, deviation=0.5)
    operation(noise(5000, 2, 2), uniform(5000, operation.columns, 0))
    magnitudes = 10 * torch.cat(seen)
    assert magnitudes.max() == 10.0  # the upper 2 % are cut off
    assert magnitudes.median().item() == pytest.approx(9, abs=0.05)
    assert magnitudes.quantile(0.1587).item() == pytest.approx(8.5, abs=0.05)
    assert len(magnitudes) / 10_000 == pytest.approx(0.5, abs=0.02)  # half of what is drawn is applied
    assert len(seen) == 2 * 15  # each operation was drawn in each turn, about equally often
    assert all(len(each) / len(magnitudes) == pytest.approx(1 / 30, abs=0.01) for each in seen)


@pytest.mark.parametrize("choices", [increasing, torchvision])
def test_images_are_changed_by_themselves(choices) -> None:
    operation = RandAugment(choices(MEAN, 12, 9), n=3, magnitude=8, deviation=1.0)
    images, draws = noise(60, 12, 9), uniform(60, operation.columns, 0)
    together = operation(images, draws)
    alone = torch.cat([operation(images[i : i + 1], draws[i : i + 1]) for i in range(60)])
    assert torch.equal(together, alone)
    assert (together != images).flatten(1).any(1).float().mean() > 0.5
