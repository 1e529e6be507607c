"""A layer as torch.compile sees it on a GPU: traced on tensors that only say that they are there."""

from collections.abc import Callable, Iterator
from unittest import mock

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode

from convmixer.model.kernels import choose_path, depthwise
from convmixer.model.layers import ConvMixerLayer


@pytest.fixture
def autocast() -> Iterator[None]:
    """torch.autocast("cuda") as it is within; the context manager itself does nothing without a GPU."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    yield
    torch.set_autocast_enabled("cuda", False)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, autocast: None) -> Callable[..., list[str]]:
    """The kernels of a layer as it is compiled in one graph for a GPU; what it gives is bfloat16 and whole planes."""
    monkeypatch.setattr(depthwise, "_found_triton", lambda: True)

    def trace(change: Callable[[ConvMixerLayer], object] = lambda layer: None, *extra: int) -> list[str]:
        torch._dynamo.reset()
        seen = CompileCounterWithBackend("eager")
        with FakeTensorMode(), torch.device("cuda"):
            layer = ConvMixerLayer(8, 5)
            change(layer)
            with mock.patch.object(nn.Module, "to"):  # which can't change tensors that are not there
                choose_path(layer, "native", torch.device("cuda"), torch.bfloat16)
            inputs = [torch.empty(2, 8, 16, 16), *(torch.empty(n) for n in extra)]
            found = [layer(*inputs), torch.compile(layer, backend=seen, fullgraph=True, dynamic=False)(*inputs)]
        assert seen.frame_count == 1
        assert all(out.dtype is torch.bfloat16 and out.is_contiguous() for out in found)
        return [str(node.target) for node in seen.graphs[0].graph.nodes if "convmixer" in str(node.target)]

    return trace


def test_a_native_layer_in_training_is_one_kernel_of_bfloat16_planes(traced: Callable[..., list[str]]) -> None:
    assert traced() == ["convmixer.plane_layer.default"]


def test_a_layer_that_is_not_as_it_was_built_has_two_kernels_among_its_modules(
    traced: Callable[..., list[str]],
) -> None:
    """Another activation, evaluation, stochastic depth."""
    by_itself = ["convmixer.depthwise_conv2d.default", "convmixer.mix_channels.default"]
    assert traced(lambda layer: setattr(layer, "act1", nn.ReLU())) == by_itself
    assert traced(lambda layer: layer.eval()) == by_itself
    assert traced(lambda layer: None, 2) == by_itself
