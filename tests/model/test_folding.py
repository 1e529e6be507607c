"""A network with its BatchNorms folded gives the same logits."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import as_if_trained, assert_same_logits
from torch import nn

from convmixer.errors import UserError
from convmixer.model.folding import fold
from convmixer.model.layers import ACTIVATIONS, ConvMixerLayer
from convmixer.model.variants import conv_mixer


@settings(max_examples=20)
@given(
    d_model=st.integers(1, 16),
    n_layers=st.integers(1, 4),
    kernel_size=st.integers(1, 9),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_any_network_folded_gives_the_same_logits(d_model, n_layers, kernel_size, activation, height, width):
    model = as_if_trained(conv_mixer(d_model, n_layers, kernel_size, 2, activation=activation))
    assert_same_logits(model, fold(model), 2, 3, 2 * height, 2 * width)


def test_no_batch_norm_is_left_and_the_network_itself_is_as_it_was():
    model = as_if_trained(conv_mixer(8, 3, 5, 2))
    before = copy.deepcopy(model.state_dict())
    folded = fold(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_scales_of_zero_are_folded_too():
    model = as_if_trained(conv_mixer(8, 2, 5, 2))
    for layer in model.conv_mixer_layers:
        nn.init.zeros_(layer.norm1.weight)
        nn.init.zeros_(layer.norm2.weight)
    assert_same_logits(model, fold(model), 2, 3, 8, 8)


def test_a_network_in_training_mode_is_folded_as_in_evaluation():
    model = as_if_trained(conv_mixer(8, 2, 5, 2))
    folded = fold(copy.deepcopy(model).train())
    assert_same_logits(model, folded, 2, 3, 8, 8)


def test_what_an_own_layer_computes_is_not_guessed():
    class Own(ConvMixerLayer):
        pass

    model = conv_mixer(8, 2, 5, 2)
    model.conv_mixer_layers[1] = Own(8, 5)
    with pytest.raises(UserError, match="this network has other parts"):
        fold(model)
