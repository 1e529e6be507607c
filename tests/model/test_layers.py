"""The network against its peers (same weights, same numbers) and the paper's description."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from labml_nn import conv_mixer as labml
from timm.models.convmixer import ConvMixer as TimmConvMixer
from torch import Tensor, nn

from convmixer.model.layers import ACTIVATIONS, ClassificationHead, ConvMixer, ConvMixerLayer, PatchEmbeddings
from convmixer.model.variants import SIZES, conv_mixer

# d_model, n_layers, kernel_size, patch_size, image's height and width
ODD_KERNELS = [(16, 3, 5, 4, 32), (24, 2, 7, 2, 16), (8, 4, 9, 1, 8), (12, 1, 3, 7, 28)]
EVEN_KERNELS = [(16, 2, 8, 2, 16), (8, 3, 4, 1, 8)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def labml_model(d_model: int, n_layers: int, kernel_size: int, patch_size: int) -> nn.Module:
    return labml.ConvMixer(
        labml.ConvMixerLayer(d_model, kernel_size),
        n_layers,
        labml.PatchEmbeddings(d_model, patch_size, 3),
        labml.ClassificationHead(d_model, 10),
    )


def timm_name(name: str) -> str:
    """timm's name of one of our weights, by the table in PEERS.md."""
    if name.startswith("patch_emb"):
        return name.replace("patch_emb.conv", "stem.0").replace("patch_emb.norm", "stem.2")
    if name.startswith("classification"):
        return name.replace("classification.linear", "head")
    _, layer, part, weight = name.split(".")
    place = {"depth_wise_conv": "0.fn.0", "norm1": "0.fn.2", "point_wise_conv": "1", "norm2": "3"}
    return f"blocks.{layer}.{place[part]}.{weight}"


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights unlike any start: every weight, bias and running statistic is drawn anew."""
    state = {name: torch.randn_like(t.float()) * 0.3 for name, t in model.state_dict().items()}
    for name in state:
        if name.endswith("running_var"):
            state[name] = state[name].exp()
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
    return state


def assert_same(ours: nn.Module, theirs: nn.Module, images: Tensor, rename=str) -> None:
    """Same logits in training and in evaluation, same gradients, same running statistics."""
    labels = torch.arange(len(images)) % 10
    for mode in (True, False):
        outputs = [model.train(mode)(images) for model in (ours, theirs)]
        torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
        for model, logits in zip((ours, theirs), outputs, strict=True):
            model.zero_grad()
            F.cross_entropy(logits, labels).backward()
        their_gradients = {name: p.grad for name, p in theirs.named_parameters()}
        for name, p in ours.named_parameters():
            expected = their_gradients[rename(name)]
            largest = max(1.0, expected.abs().max().item())
            torch.testing.assert_close(
                p.grad,
                expected,
                rtol=0,
                atol=1e-5 * largest,
                msg=lambda m, name=name: f"{name}: {m}",
            )
    their_state = theirs.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, their_state[rename(name)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", ODD_KERNELS)
def test_labml_nn_state_dict_loads_as_it_is_and_gives_the_same_numbers(size):
    *numbers, side = size
    ours, theirs = conv_mixer(*numbers), labml_model(*numbers)
    theirs.load_state_dict(trained_state(theirs))
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, torch.rand(16, 3, side, side))


# ReLU in float64: in float32 rounding can move a number across its kink, and the gradient jumps.
@pytest.mark.parametrize(("activation", "dtype"), [("GELU", torch.float32), ("ReLU", torch.float64)])
@pytest.mark.parametrize("size", ODD_KERNELS + EVEN_KERNELS)
def test_same_numbers_as_timm(size, activation, dtype):
    *numbers, side = size
    ours = conv_mixer(*numbers, activation=activation)
    d_model, n_layers, kernel_size, patch_size = numbers
    theirs = TimmConvMixer(
        d_model,
        n_layers,
        kernel_size=kernel_size,
        patch_size=patch_size,
        num_classes=10,
        act_layer=ACTIVATIONS[activation],
    )
    state = trained_state(ours)
    ours.load_state_dict(state)
    theirs.load_state_dict({timm_name(name): value for name, value in state.items()})
    images = torch.rand(16, 3, side, side, dtype=dtype)
    assert_same(ours.to(dtype), theirs.to(dtype), images, timm_name)


@settings(max_examples=30, deadline=None)
@given(
    h=st.integers(1, 12),
    d=st.integers(1, 4),
    k=st.integers(1, 9),
    p=st.integers(1, 5),
    c=st.integers(1, 4),
    n=st.integers(1, 11),
)
def test_number_of_parameters_is_the_papers(h, d, k, p, c, n):
    model = conv_mixer(h, d, k, p, n_classes=n, in_channels=c)
    expected = h * (d * (k**2 + h + 6) + c * p**2 + n + 3) + n
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "n_classes", "millions"),
    [("256/8", 10, 0.7), ("768/32", 1000, 21.1), ("1024/20", 1000, 24.4), ("1536/20", 1000, 51.6)],
)
def test_the_papers_sizes_have_the_parameter_counts_it_reports(name, n_classes, millions):
    with torch.device("meta"):
        model = conv_mixer(**SIZES[name], n_classes=n_classes)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("kernel_size", range(1, 10))
def test_a_layer_keeps_height_and_width(kernel_size):
    x = torch.rand(2, 4, 6, 5)
    assert ConvMixerLayer(4, kernel_size)(x).shape == x.shape


def test_layers_start_different_from_each_other_and_from_the_layer_they_copy():
    layer = ConvMixerLayer(8, 3)
    model = ConvMixer(layer, 3, PatchEmbeddings(8, 2, 3), ClassificationHead(8, 10))
    layers = [layer, *model.conv_mixer_layers]
    for part in ("depth_wise_conv", "point_wise_conv"):
        weights = {getattr(each, part).weight.sum().item() for each in layers}
        assert len(weights) == 4


def test_the_given_layer_is_a_pattern_and_stays_as_it_was():
    layer = ConvMixerLayer(8, 3)
    before = copy.deepcopy(layer.state_dict())
    ConvMixer(layer, 2, PatchEmbeddings(8, 2, 3), ClassificationHead(8, 10))
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


def test_the_seed_decides_the_start():
    starts = []
    for start in (1, 1, 2):
        torch.manual_seed(start)
        starts.append(conv_mixer(8, 2, 3, 2).conv_mixer_layers[1].point_wise_conv.weight)
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])


def test_reset_parameters_forgets_weights_and_batch_statistics():
    layer = ConvMixerLayer(8, 3)
    layer.load_state_dict(trained_state(layer))
    layer.reset_parameters()
    assert layer.norm1.running_mean.eq(0).all() and layer.norm2.weight.eq(1).all()
    assert layer.depth_wise_conv.weight.abs().max() <= 1 / 3  # PyTorch's bound: 1 / sqrt(k * k)


def test_a_layer_type_that_cannot_draw_a_new_start_is_an_error():
    class Plain(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"Plain has no reset_parameters\(\)"):
        ConvMixer(Plain(), 2, PatchEmbeddings(8, 2, 3), ClassificationHead(8, 10))


@pytest.mark.parametrize("image", [(30, 32), (32, 30), (3, 3)])
def test_an_image_that_the_patches_do_not_fill_is_an_error(image):
    with pytest.raises(ValueError, match=f"patch_size 4 .* {image[0]}x{image[1]}"):
        conv_mixer(8, 1, 3, 4)(torch.rand(2, 3, *image))


def test_an_unknown_activation_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match="GELU, ReLU, SiLU, not 'Tanh'"):
        conv_mixer(8, 1, 3, 4, activation="Tanh")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_input_is_left_as_it_was(memory_format):
    images = torch.rand(2, 3, 8, 8).to(memory_format=memory_format)
    before = images.clone()
    conv_mixer(8, 2, 3, 2)(images).sum().backward()
    assert torch.equal(images, before) and images.stride() == before.stride()


def test_a_layer_leaves_its_input_and_the_graph_of_it_as_they_were():
    x = torch.rand(2, 8, 4, 4, requires_grad=True)
    hidden = x.exp()  # exp needs its own output for the backward pass
    before = hidden.detach().clone()
    ConvMixerLayer(8, 3)(hidden).square().sum().backward()
    assert torch.equal(hidden.detach(), before) and x.grad is not None


def test_every_layer_works_in_channels_last():
    model, seen = conv_mixer(8, 2, 4, 2), []
    for layer in (model.patch_emb, *model.conv_mixer_layers):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(torch.rand(2, 3, 8, 8))
    assert len(seen) == 3
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


def test_bfloat16_autocast_stays_near_float32():
    model, images = conv_mixer(32, 2, 5, 4), torch.rand(16, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(images)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), model(images), rtol=0.1, atol=0.05)


@pytest.mark.slow
def test_compiled_gives_the_same():
    model, images = conv_mixer(16, 2, 5, 4), torch.rand(4, 3, 32, 32)
    assert_same(torch.compile(copy.deepcopy(model)), model, images, lambda n: n[len("_orig_mod.") :])
