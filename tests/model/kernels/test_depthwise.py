"""`depthwise_conv2d` against the same convolution in float64."""

from itertools import zip_longest

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_fixtures import native, poisoned, threads  # noqa: F401
from torch import Tensor

from convmixer.model.kernels import depthwise_conv2d
from convmixer.model.kernels.depthwise import is_native
from convmixer.model.layers import depthwise_conv2d as depthwise_conv2d_reference

pytestmark = pytest.mark.usefixtures("native")

FORMATS = [torch.channels_last, torch.contiguous_format]
Parts = tuple[Tensor, Tensor, Tensor]


def draw(batch: int, channels: int, height: int, width: int, kernel: int) -> Parts:
    """Input, filters and bias."""
    torch.manual_seed(0)
    return torch.randn(batch, channels, height, width), torch.randn(channels, 1, kernel, kernel), torch.randn(channels)


def output_and_gradients(function, parts: Parts) -> list[Tensor]:
    parts = [part.detach().requires_grad_() for part in parts]
    out = function(*parts)
    torch.manual_seed(1)
    slopes = torch.randn(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, parts, slopes)]


def assert_near(
    found: list[Tensor], expected: list[Tensor], relative: float = 1e-5, least: tuple[float, ...] = ()
) -> None:
    """Every number is within `relative` of the largest of its tensor, or of the `least` that this counts as."""
    for a, b, low in zip_longest(found, expected, least, fillvalue=0.0):
        assert a.shape == b.shape
        largest = max(b.abs().max().item() if b.numel() else 0.0, low)
        torch.testing.assert_close(a.to(b.dtype), b, rtol=0, atol=relative * largest)


@pytest.mark.usefixtures("poisoned")
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(0, 9),
    channels=st.integers(1, 70),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    kernel=st.integers(1, 11),
    memory_format=st.sampled_from(FORMATS),
)
def test_any_shape_gives_the_numbers_of_float64(batch, channels, height, width, kernel, memory_format):
    x, weight, bias = draw(batch, channels, height, width, kernel)
    found = output_and_gradients(depthwise_conv2d, (x.to(memory_format=memory_format), weight, bias))
    exact = output_and_gradients(depthwise_conv2d_reference, (x.double(), weight.double(), bias.double()))
    # Gradients of filters and bias are sums of random numbers over all pixels, and a single one may cancel to nearly
    # nothing: they count as no smaller than such a sum is on average.
    typical = (batch * height * width) ** 0.5
    assert_near(found, exact, least=(0.0, 0.0, typical, typical))


@pytest.mark.parametrize("make", [lambda x: x[:, :, 1:-1, ::2], lambda x: x.transpose(2, 3), lambda x: x[1:, 3:]])
def test_an_input_that_is_a_view_is_read_where_it_lies(make):
    x = make(torch.randn(4, 20, 12, 12))
    _, weight, bias = draw(1, x.shape[1], 1, 1, 5)
    torch.testing.assert_close(
        depthwise_conv2d(x, weight, bias), depthwise_conv2d_reference(x, weight, bias), rtol=1e-5, atol=1e-5
    )


def test_planes_larger_than_the_cache_and_large_kernels():
    for parts in (draw(1, 17, 80, 75, 9), draw(1, 20, 12, 100, 31), draw(2, 3, 5, 5, 63)):
        exact = output_and_gradients(depthwise_conv2d_reference, [part.double() for part in parts])
        assert_near(output_and_gradients(depthwise_conv2d, parts), exact)


def test_what_is_left_over_from_a_batch_of_nan_does_not_show():
    x, weight, bias = draw(3, 33, 7, 9, 5)
    clean = output_and_gradients(depthwise_conv2d, (x, weight, bias))
    nan = [torch.full_like(part, float("nan")) for part in draw(8, 64, 20, 20, 5)]
    output_and_gradients(depthwise_conv2d, nan)
    assert all(
        torch.equal(a, b) for a, b in zip(output_and_gradients(depthwise_conv2d, (x, weight, bias)), clean, strict=True)
    )


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(64, 40, 16, 16, 7), (1, 200, 8, 8, 5), (19, 33, 5, 6, 4)])
def test_the_same_bits_from_run_to_run_and_with_any_number_of_threads(shape):
    parts = draw(*shape)
    results = []
    for n in (1, 2, 2, 3, 4):
        torch.set_num_threads(n)
        results.append(output_and_gradients(depthwise_conv2d, parts))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_only_the_gradients_that_are_wanted_are_made():
    x, weight, bias = draw(2, 6, 5, 5, 3)
    for wanted in ([x], [weight], [bias], [x, bias]):
        for part in (x, weight, bias):
            part.requires_grad_(any(part is other for other in wanted))
        gradients = torch.autograd.grad(depthwise_conv2d(x, weight, bias).square().sum(), wanted)
        exact = torch.autograd.grad(depthwise_conv2d_reference(x, weight, bias).square().sum(), wanted)
        assert_near(list(gradients), list(exact))


def test_without_a_bias():
    x, weight, _ = draw(2, 6, 5, 5, 3)
    assert_near([depthwise_conv2d(x, weight)], [depthwise_conv2d_reference(x.double(), weight.double())])


def test_gradients_can_be_differentiated_again():
    parts = [part.requires_grad_() for part in draw(2, 5, 4, 6, 3)]
    second = []
    for function, dtype in ((depthwise_conv2d, torch.float32), (depthwise_conv2d_reference, torch.float64)):
        x, weight, bias = (part.to(dtype) for part in parts)
        (first,) = torch.autograd.grad(function(x, weight, bias).pow(3).sum(), x, create_graph=True)
        second.append(torch.autograd.grad(first.square().sum(), parts))
    assert_near(second[0], second[1])


def test_float64_goes_through_pytorch_and_passes_its_gradient_checks():
    parts = tuple(part.double().requires_grad_() for part in draw(2, 3, 4, 3, 4))
    assert not is_native(parts[0], parts[1])
    assert torch.autograd.gradcheck(depthwise_conv2d, parts)
    assert torch.autograd.gradgradcheck(depthwise_conv2d, parts)


def test_registered_as_pytorch_wants_it():
    parts = tuple(part.requires_grad_() for part in draw(2, 5, 4, 6, 3))
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.convmixer.depthwise_conv2d, parts, test_utils=checks)


def test_one_graph_under_torch_compile():
    parts = draw(2, 5, 4, 6, 3)
    compiled = torch.compile(depthwise_conv2d, fullgraph=True, backend="aot_eager")
    assert_near(output_and_gradients(compiled, parts), output_and_gradients(depthwise_conv2d, parts), 1e-7)


def test_autocast_is_left_to_pytorch():
    x, weight, _ = draw(2, 5, 4, 6, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert depthwise_conv2d(x, weight).dtype == torch.bfloat16
