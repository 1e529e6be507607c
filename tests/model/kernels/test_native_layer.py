"""The layer in C++ against its own modules in float64."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_fixtures import native, poisoned, threads  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional as F

from convmixer.model.kernels import choose_path, layer_fits
from convmixer.model.layers import ConvMixer, ConvMixerLayer
from convmixer.model.variants import conv_mixer

pytestmark = pytest.mark.usefixtures("native")

CPU = torch.device("cpu")
Once = Callable[[nn.Module, Tensor], dict[str, Tensor]]


def layer_of(channels: int, kernel: int, kernels: str = "native") -> ConvMixerLayer:
    """A layer with norms unlike those at the start."""
    torch.manual_seed(0)
    layer = ConvMixerLayer(channels, kernel)
    for norm in (layer.norm1, layer.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    choose_path(layer, kernels, CPU, torch.float32)
    return layer


def train_once(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers after one forward and backward pass."""
    x = x.detach().requires_grad_()
    layer.zero_grad()
    out = layer(x)
    torch.manual_seed(1)
    out.backward(torch.randn(out.shape).to(out.dtype))
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {"out": out.detach(), "x": x.grad} | gradients | dict(layer.named_buffers())


def assert_near(found: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    """Every tensor is within 1e-5 of float64's, relative to its norm.

    The gradients of biases and norms are sums over the batch of numbers of either sign, which may cancel to nearly
    nothing: number by number they count as no smaller than the gradients of the convolutions' weights.
    """
    mean_square = max(
        (value.square().mean().item() for name, value in exact.items() if name.endswith("conv.weight")), default=0.0
    )
    for name, expected in exact.items():
        size = expected.double().norm().item()
        if name.endswith(("bias", "norm1.weight", "norm2.weight")):
            size = max(size, (len(expected) * mean_square) ** 0.5)
        assert (found[name] - expected).double().norm().item() <= 1e-5 * size, name


def evaluate_once(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return {"out": layer(x)}


def in_float64(layer: nn.Module, x: Tensor, once: Once) -> dict[str, Tensor]:
    """Through the modules."""
    plain = copy.deepcopy(layer).double()
    choose_path(plain, "torch", CPU, torch.float64)
    return once(plain, x.double())


@pytest.mark.usefixtures("poisoned")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(4, 9),
    channels=st.integers(2, 70),
    height=st.integers(3, 14),
    width=st.integers(3, 14),
    kernel=st.integers(2, 10),
    memory_format=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_any_shape_gives_the_numbers_of_float64(batch, channels, height, width, kernel, memory_format):
    layer = layer_of(channels, kernel)
    x = torch.randn(batch, channels, height, width).to(memory_format=memory_format)
    assert layer_fits(layer, x)
    exact = in_float64(layer, x, train_once)  # before the running statistics change
    assert_near(train_once(layer, x), exact)
    layer.eval()
    assert_near(evaluate_once(layer, x), in_float64(layer, x, evaluate_once))


@pytest.mark.parametrize("make", [lambda x: x[:, :, 1:-1, ::2], lambda x: x.transpose(2, 3), lambda x: x[1:, 3:]])
def test_an_input_that_is_a_view_is_read_where_it_lies(make):
    x = make(torch.randn(5, 20, 12, 12))
    layer = layer_of(x.shape[1], 5)
    exact = in_float64(layer, x, train_once)
    assert_near(train_once(layer, x), exact)


def test_evaluation_of_an_empty_batch_is_empty():
    layer, x = layer_of(8, 3).eval(), torch.randn(0, 8, 6, 6)
    with torch.no_grad():
        assert layer_fits(layer, x)
        assert layer(x).shape == x.shape


def test_many_channels_and_a_large_mean():
    layer, x = layer_of(600, 3), torch.randn(3, 600, 9, 9)
    nn.init.constant_(layer.depth_wise_conv.bias, 100.0)  # BatchNorm's variance is then small beside its mean
    plain = copy.deepcopy(layer)
    choose_path(plain, "torch", CPU, torch.float32)
    exact, found, modules = in_float64(layer, x, train_once), train_once(layer, x), train_once(plain, x)
    for name, expected in exact.items():  # GELU is linear there: some gradients are zero, and show rounding alone
        error, theirs = ((other[name] - expected).double().norm().item() for other in (found, modules))
        assert error <= max(1e-5 * expected.double().norm().item(), 5 * theirs), name


@pytest.mark.parametrize(
    "name", ["x", "depth_wise_conv.weight", "norm1.weight", "point_wise_conv.weight", "norm2.bias"]
)
def test_the_loss_changes_as_the_gradients_say(name):
    """Along a random direction, by a difference of the native forward pass itself, in float32."""
    layer, x = layer_of(24, 5), torch.randn(6, 24, 8, 8)
    gradient = train_once(layer, x)[name]
    moved = x if name == "x" else dict(layer.named_parameters())[name]
    torch.manual_seed(1)
    slopes = torch.randn(x.shape)
    direction = gradient / gradient.norm() + torch.randn(gradient.shape) / gradient.numel() ** 0.5
    losses = []
    with torch.no_grad():
        for step in (-1e-2, 1e-2):
            moved += step * direction
            losses.append((layer(x).double() * slopes).sum().item())
            moved -= step * direction
    assert (losses[1] - losses[0]) / 2e-2 == pytest.approx((gradient * direction).sum().item(), rel=1e-2)


def test_gelu_is_near_the_exact_one_everywhere():
    layer = ConvMixerLayer(1, 1).eval()
    layer.requires_grad_(False)
    choose_path(layer, "native", CPU, torch.float32)
    nn.init.zeros_(layer.norm1.weight)  # the first half adds nothing, the second is GELU(1 x)
    nn.init.ones_(layer.point_wise_conv.weight)
    nn.init.zeros_(layer.point_wise_conv.bias)
    layer.norm2.eps = 0.0
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.tensor([-1e30, 0.0, 1e30])]).reshape(1, 1, -1, 4)
    assert layer_fits(layer, x)
    error = (layer(x) - F.gelu(x.double())).abs() / (1 + x.abs())
    assert error.max() < 1e-6


@pytest.mark.usefixtures("threads")
def test_the_same_bits_from_run_to_run_and_with_any_number_of_threads():
    layer, x = layer_of(40, 5), torch.randn(64, 40, 8, 8)
    results = []
    for n in (1, 2, 2, 3, 4):
        torch.set_num_threads(n)
        results.append(train_once(copy.deepcopy(layer), x))
    for other in results[1:]:
        assert all(torch.equal(value, other[name]) for name, value in results[0].items())


def test_what_is_left_over_from_a_batch_of_nan_does_not_show():
    layer, x = layer_of(33, 5), torch.randn(3, 33, 7, 9)
    clean = train_once(copy.deepcopy(layer), x)
    nan = train_once(layer_of(64, 5), torch.full((8, 64, 20, 20), float("nan")))
    assert nan["out"].isnan().all() and nan["x"].isnan().all()
    again = train_once(layer, x)
    assert all(torch.equal(value, again[name]) for name, value in clean.items())


def test_running_statistics_without_momentum_are_means_of_all_batches():
    layer = layer_of(8, 3)
    layer.norm1.momentum = None
    plain = copy.deepcopy(layer)
    choose_path(plain, "torch", CPU, torch.float32)
    for _ in range(3):
        x = torch.randn(4, 8, 5, 5)
        layer(x), plain(x)
    torch.testing.assert_close(dict(layer.named_buffers()), dict(plain.named_buffers()), rtol=1e-5, atol=1e-6)


def altered(change) -> ConvMixerLayer:
    layer = layer_of(8, 3)
    change(layer)
    return layer


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.norm1.register_forward_hook(lambda module, inputs, output: output * 2),
        lambda layer: setattr(layer, "act2", nn.ReLU()),
        lambda layer: setattr(layer, "act1", nn.GELU("tanh")),
        lambda layer: setattr(layer, "norm2", nn.GroupNorm(2, 8)),
        lambda layer: setattr(layer, "norm1", nn.BatchNorm2d(8, affine=False)),
        lambda layer: layer.norm2.eval(),
        lambda layer: nn.utils.parametrizations.weight_norm(layer.point_wise_conv),
        lambda layer: setattr(layer, "point_wise_conv", nn.Conv2d(8, 8, 1, groups=2)),
        lambda layer: setattr(layer, "point_wise_conv", nn.Conv2d(8, 8, 1, bias=False)),
        lambda layer: layer.double(),
    ],
)
def test_a_layer_that_is_not_as_it_was_built_goes_through_its_modules(change):
    layer = altered(change)
    plain = copy.deepcopy(layer)
    choose_path(plain, "torch", CPU, torch.float32)
    x = torch.randn(4, 8, 6, 6).to(layer.depth_wise_conv.weight.dtype)
    assert not layer_fits(layer, x)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)


def test_gradients_in_evaluation_and_stochastic_depth_go_through_the_modules():
    layer, plain = layer_of(8, 3), layer_of(8, 3, "torch")
    x, scale = torch.randn(4, 8, 6, 6), torch.tensor([0.0, 2.0, 0.0, 2.0])
    torch.testing.assert_close(layer(x, scale), plain(x, scale), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(train_once(layer.eval(), x), train_once(plain.eval(), x), rtol=1e-5, atol=1e-5)


def test_a_whole_network_trains_as_it_does_through_pytorch():
    losses = {}
    for kernels in ("torch", "native"):
        torch.manual_seed(0)
        model = conv_mixer(24, 3, 5, 4)
        choose_path(model, kernels, CPU, torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        images, labels = torch.randn(32, 3, 32, 32), torch.arange(32) % 10
        losses[kernels] = []
        for _ in range(6):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[kernels].append(loss.item())
    assert losses["native"] == pytest.approx(losses["torch"], rel=1e-3)
    assert losses["native"][-1] < losses["native"][0]


def test_module_names_state_and_copies_do_not_depend_on_the_path():
    fast, plain = layer_of(8, 3), layer_of(8, 3, "torch")
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert str(fast) == str(plain)
    assert copy.deepcopy(fast).fused and not plain.fused


def test_registered_as_pytorch_wants_it():
    layer = layer_of(5, 3)
    parts = (layer.depth_wise_conv, layer.norm1, layer.point_wise_conv, layer.norm2)
    weights = [p for part in parts for p in (part.weight, part.bias)]
    x = torch.randn(2, 5, 4, 6).to(memory_format=torch.channels_last).requires_grad_()
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.convmixer.layer_train, (x, *weights, [1e-5, 1e-5]), test_utils=checks)


def test_one_graph_under_torch_compile():
    layer, x = layer_of(8, 3), torch.randn(4, 8, 6, 6)
    expected = train_once(copy.deepcopy(layer), x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found = train_once(compiled, x)
    for name, value in expected.items():
        prefix = "" if name in ("out", "x") else "_orig_mod."
        torch.testing.assert_close(found[prefix + name], value, rtol=1e-6, atol=1e-6)


def test_networks_are_torch_unless_told_otherwise():
    model = conv_mixer(8, 2, 3, 2)
    assert isinstance(model, ConvMixer)
    assert not any(getattr(module, "native", False) for module in model.modules())
