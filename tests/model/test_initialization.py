"""How weights start."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from convmixer.errors import UserError
from convmixer.model.initialization import STARTS, apply_starts, filter_covariance
from convmixer.model.layers import ConvMixer
from convmixer.model.variants import conv_mixer


def smooth_images(n: int = 200) -> torch.Tensor:
    """Neighbouring pixels alike, as in photographs: [n, 3, 16, 16]."""
    noise = torch.randn(n, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 3, stride=1) * 3 + 0.1 * noise[..., 1:-1, 1:-1]


def started(*names: str, seed: int = 0, d_model: int = 32, kernel_size: int = 5, n_layers: int = 3) -> ConvMixer:
    torch.manual_seed(0)
    model = conv_mixer(d_model, n_layers, kernel_size, 2).to(memory_format=torch.channels_last)
    apply_starts(model, names, smooth_images(), seed)
    return model


def test_whitened_patches_are_uncorrelated_with_variance_one() -> None:
    conv = started("whitening").patch_emb.conv
    channels = conv(smooth_images()).permute(1, 0, 2, 3).flatten(1)[:24].detach()  # 24 = 2 signs x 3 colours x 2x2
    assert torch.equal(channels[:12], -channels[12:])
    second_moments = channels[:12] @ channels[:12].T / channels.shape[1]
    torch.testing.assert_close(second_moments, torch.eye(12), rtol=0, atol=0.05)


def test_channels_beyond_the_whitening_keep_their_random_start() -> None:
    assert torch.equal(started("whitening").patch_emb.conv.weight[24:], started().patch_emb.conv.weight[24:])


def test_fewer_channels_take_the_first_of_the_whitening_filters() -> None:
    narrow, wide = (started("whitening", d_model=d_model).patch_emb.conv.weight for d_model in (9, 24))
    torch.testing.assert_close(narrow[:8], torch.cat([wide[:4], -wide[:4]]))


@given(st.integers(1, 9), st.floats(0.3, 5))
def test_the_covariance_of_filters_is_that_of_its_formula(k: int, width: float) -> None:
    covariance = filter_covariance(k, width)
    assert torch.equal(covariance, covariance.T)
    centre = (k - 1) // 2 * (k + 1)
    assert covariance[centre, centre] == pytest.approx(0.5)
    assert covariance.diagonal().argmax() == centre


def test_filters_drawn_by_covariance_have_it() -> None:
    """So many channels that the sample's covariance tells."""
    weight = started("covariance", d_model=8192, kernel_size=3, n_layers=1).conv_mixer_layers[0].depth_wise_conv.weight
    filters = weight.detach().flatten(1).double()
    values, vectors = torch.linalg.eigh(filter_covariance(3, 0.5))
    expected = vectors @ torch.diag(values.clamp(min=0)) @ vectors.T
    expected *= (1 / 3) / expected.trace()
    torch.testing.assert_close(filters.T @ filters / len(filters), expected, rtol=0, atol=0.01)
    assert filters.square().sum(1).mean() == pytest.approx(1 / 3, rel=0.05)  # as torch's start has


def test_filters_grow_wider_with_depth() -> None:
    layers = started("covariance", d_model=512, kernel_size=9).conv_mixer_layers
    at_edge = [layer.depth_wise_conv.weight[..., 0, :].square().sum().item() for layer in layers]
    assert at_edge == sorted(at_edge) and at_edge[-1] > 100 * at_edge[0]


@pytest.mark.parametrize("kernel_size", [1, 4, 5])
def test_impulses_shift(kernel_size: int) -> None:
    for layer in started("impulse", kernel_size=kernel_size).conv_mixer_layers:
        weight = layer.depth_wise_conv.weight
        assert ((weight != 0).sum((1, 2, 3)) == 1).all()
        assert weight.sum((1, 2, 3)).detach() == pytest.approx(torch.full((32,), (1 / 3) ** 0.5))
    assert kernel_size == 1 or len(weight.flatten(1).argmax(1).unique()) > 5


def test_a_network_of_identities_does_nothing_but_activate() -> None:
    model = started("identity", "zero_gamma").eval()
    x = torch.randn(2, 32, 4, 4)
    with torch.no_grad():
        for layer in model.conv_mixer_layers:
            layer.point_wise_conv.bias.zero_()
        seen = model.conv_mixer_layers[0](x)
    torch.testing.assert_close(seen, F.gelu(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", STARTS)
def test_the_same_seed_gives_the_same_start_and_torchs_generator_is_left_alone(name: str) -> None:
    first, second = started(name).state_dict(), started(name).state_dict()
    after = torch.rand(1)
    assert all(torch.equal(first[key], second[key]) for key in first)
    changed = [key for key, value in started().state_dict().items() if not torch.equal(value, first[key])]
    assert changed
    assert after == (started(), torch.rand(1))[1]
    if name in ("covariance", "impulse"):
        assert not torch.equal(started(name, seed=1).state_dict()[changed[0]], first[changed[0]])


def test_a_model_without_the_part_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs a patch_emb\.conv, which Linear lacks"):
        apply_starts(torch.nn.Linear(2, 2), ["whitening"], smooth_images(), 0)
