"""Pixels become numbers of about one deviation, also where a channel has none."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from convmixer.data.normalisation import SMALLEST_STD, Normalisation, floored
from convmixer.data.splits import channel_statistics

CPU = torch.device("cpu")


def micrographs(n: int) -> torch.Tensor:
    """Images of two channels kept as RGB: blue is the same everywhere."""
    images = torch.randint(0, 200, (n, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    images[..., 2] = 40
    return images


def test_each_channel_gets_mean_0_and_deviation_1() -> None:
    images = micrographs(20)
    normalised = Normalisation(*channel_statistics(images), CPU)(images)
    assert normalised.mean((0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(normalised.std((0, 2, 3), correction=0), torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize("spread", [0, 1], ids=["constant", "nearly constant"])
def test_a_channel_that_hardly_varies_is_not_blown_up(spread: int) -> None:
    """The same images as JPEG differ by some levels there: those must not outweigh all that a network sees."""
    images = micrographs(20)
    images[0, 0, 0, 2] += spread
    normalise = Normalisation(*channel_statistics(images), CPU)
    file = io.BytesIO()
    Image.fromarray(images[1].numpy()).save(file, "jpeg", quality=95, subsampling=0)
    jpeg = torch.from_numpy(np.array(Image.open(file)))[None]
    levels = (jpeg[..., 2].float() - 40).abs().max()
    assert levels > 0
    assert normalise(jpeg)[:, 2].abs().max() <= levels + 0.01


def test_no_deviation_is_divided_by_that_is_less_than_a_level() -> None:
    assert floored((0.25, 0.0, 1e-6)) == (0.25, SMALLEST_STD, SMALLEST_STD)
