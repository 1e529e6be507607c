"""Which images leave out which residual branches."""

import pytest
import torch

from convmixer.data.batches import Batches
from convmixer.data.datasets import Split
from convmixer.data.splits import measured
from convmixer.errors import UserError
from convmixer.model.variants import conv_mixer
from convmixer.training.stochastic_depth import StochasticDepth, check_layer


def batches(batch_size: int, n: int = 4000) -> Batches:
    split = Split(torch.zeros(n, 2, 2, 3, dtype=torch.uint8), torch.arange(n) % 2)
    return Batches(split, measured("black", ("a", "b"), split, split), batch_size, torch.device("cpu"), seed=1)


def test_deeper_layers_are_left_out_more_often_and_the_mean_is_kept() -> None:
    scales = StochasticDepth(0.4, 4, seed=0, batches=batches(100)).scales(0, 0, 4000)
    assert (scales == 0).float().mean(1).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)
    assert scales.mean(1).tolist() == pytest.approx([1, 1, 1, 1], abs=0.05)


def test_draws_follow_the_image_whatever_the_batches_and_differ_between_epochs() -> None:
    """Two batch sizes, and an order of calls that a resumed run has."""
    whole, parts = StochasticDepth(0.5, 3, 0, batches(4000)), StochasticDepth(0.5, 3, 0, batches(7))
    later = parts.scales(1, 7, 7)
    assert torch.equal(whole.scales(1, 0, 4000)[:, 7:14], later)
    assert torch.equal(parts.scales(0, 7, 7), whole.scales(0, 0, 4000)[:, 7:14])
    by_image = [torch.empty(3, 4000).index_copy_(1, batches(1).order(e), whole.scales(e, 0, 4000)) for e in (0, 1)]
    assert 0.3 < (by_image[0] == by_image[1]).float().mean() < 0.7


def test_an_image_that_leaves_out_all_branches_meets_point_wise_layers_alone() -> None:
    model = conv_mixer(4, 2, 3, 2).eval()
    images = torch.randn(2, 3, 8, 8)
    scales = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    x = model.patch_emb(images)
    for layer in model.conv_mixer_layers:
        x = layer.norm2(layer.act2(layer.point_wise_conv(x)))
    without, logits = model.classification(x), model(images, scales)
    torch.testing.assert_close(logits[0], without[0])
    torch.testing.assert_close(logits[1], model(images)[1])


def test_a_layer_that_cannot_leave_out_its_branch_is_refused() -> None:
    model = conv_mixer(4, 2, 3, 2)
    check_layer(model)
    model.conv_mixer_layers[0] = torch.nn.Identity()
    with pytest.raises(UserError, match="forward\\(\\) takes residual_scale, not Identity"):
        check_layer(model)
