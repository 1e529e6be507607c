"""Weights go to timm, the authors and labml_nn and come back, and are checked on the way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import PEERS, as_if_trained, assert_same_logits

from convmixer.errors import UserError
from convmixer.model.interchange import LAYOUTS, from_layout, recognise, sizes_of, to_layout
from convmixer.model.variants import SIZES, conv_mixer

odd = st.integers(0, 4).map(lambda i: 2 * i + 1)


@st.composite
def networks(draw: st.DrawFn) -> dict:
    return {
        "d_model": draw(st.integers(1, 12)),
        "n_layers": draw(st.integers(1, 12)),
        "kernel_size": draw(odd),
        "patch_size": draw(st.integers(1, 4)),
        "n_classes": draw(st.integers(1, 11)),
        "in_channels": draw(st.integers(1, 4)),
    }


@settings(max_examples=15)
@given(sizes=networks(), layout=st.sampled_from(LAYOUTS))
def test_any_network_goes_to_its_peer_and_back(sizes, layout):
    ours = as_if_trained(conv_mixer(**sizes))
    theirs = PEERS[layout](**sizes, activation="GELU")
    theirs.load_state_dict(to_layout(ours.state_dict(), layout))
    side = 3 * sizes["patch_size"]
    assert_same_logits(ours, theirs.eval(), 2, sizes["in_channels"], side, side)

    assert recognise(theirs.state_dict(), "theirs") == layout
    back = from_layout(theirs.state_dict(), layout)
    assert sizes_of(back, "theirs") == sizes
    torch.testing.assert_close(back, dict(ours.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("layout", ["timm", "authors"])
@pytest.mark.parametrize(("kernel_size", "activation"), [(8, "GELU"), (4, "ReLU"), (5, "SiLU")])
def test_even_kernels_and_other_activations_too(layout, kernel_size, activation):
    sizes = {**SIZES["256/8"], "d_model": 8, "n_layers": 2, "kernel_size": kernel_size}
    sizes |= {"n_classes": 3, "in_channels": 3, "activation": activation}
    ours, theirs = as_if_trained(conv_mixer(**sizes)), PEERS[layout](**sizes)
    theirs.load_state_dict(to_layout(ours.state_dict(), layout))
    assert_same_logits(ours, theirs.eval(), 2, 3, 7, 6)


WRONG = {
    "nothing": (lambda w: w.clear(), "not a ConvMixer: it holds nothing, expected one of stem.0.weight"),
    "another network": (
        lambda w: (w.clear(), w.update({"fc.weight": torch.rand(2)})),
        "not a ConvMixer: it holds fc.weight",
    ),
    "one missing": (lambda w: w.pop("blocks.1.3.bias"), "lacks conv_mixer_layers.1.norm2.bias (in our names)"),
    "no head": (lambda w: w.pop("head.weight"), "lacks classification.linear.weight"),
    "one too many": (lambda w: w.update(mask=torch.rand(2)), "holds mask, which a ConvMixer does not have"),
    "a layer more": (
        lambda w: w.update({"blocks.2.0.fn.0.weight": torch.rand(8, 1, 3, 3)}),
        "lacks conv_mixer_layers.2.",
    ),
    "no layers": (lambda w: [w.pop(n) for n in list(w) if "blocks" in n], "lacks conv_mixer_layers.0"),
    "another shape": (
        lambda w: w.update({"blocks.1.1.weight": torch.rand(8, 4, 1, 1)}),
        "conv_mixer_layers.1.point_wise_conv.weight (in our names) is [8, 4, 1, 1], expected [8, 8, 1, 1]",
    ),
    "no square patches": (lambda w: w.update({"stem.0.weight": torch.rand(8, 3, 2, 4)}), "is [8, 3, 2, 4], expected"),
    "too few dimensions": (lambda w: w.update({"head.weight": torch.rand(3)}), "is [3], expected 2 dimensions"),
    "an empty tensor": (lambda w: w.update({"head.weight": torch.rand(0, 8)}), "is [0, 8]"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_named_in_one_line(what):
    change, expected = WRONG[what]
    weights = to_layout(conv_mixer(8, 2, 3, 2, n_classes=3).state_dict(), "timm")
    change(weights)
    with pytest.raises(UserError) as error:
        sizes_of(from_layout(weights, recognise(weights, "x.pt")), "x.pt")
    assert str(error.value).startswith("x.pt: ") and expected in str(error.value)
    assert len(str(error.value)) < 400


@settings(max_examples=50)
@given(names=st.lists(st.text(max_size=200), max_size=5))
def test_any_names_at_all_end_in_one_short_line(names):
    weights = {name: torch.zeros(1) for name in [*names, "stem.0.weight"]}
    with pytest.raises(UserError) as error:
        sizes_of(from_layout(weights, "timm"), "x.pt")
    assert str(error.value).isprintable() and len(str(error.value)) < 500
