"""A layer as torch.compile sees it on a GPU: traced on tensors that only say that they are there."""

from collections.abc import Iterator
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


@pytest.mark.usefixtures("autocast")
def test_a_native_layer_is_one_graph_of_bfloat16_planes_with_two_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_found_triton", lambda: True)
    torch._dynamo.reset()
    seen = CompileCounterWithBackend("eager")
    with FakeTensorMode(), torch.device("cuda"):
        layer = ConvMixerLayer(8, 5)
        with mock.patch.object(nn.Module, "to"):  # which can't change tensors that are not there
            choose_path(layer, "native", torch.device("cuda"), torch.bfloat16)
        images = torch.empty(2, 8, 16, 16)
        found = [layer(images), torch.compile(layer, backend=seen, fullgraph=True, dynamic=False)(images)]
    assert seen.frame_count == 1
    names = [str(node.target) for node in seen.graphs[0].graph.nodes if "convmixer" in str(node.target)]
    assert names == ["convmixer.depthwise_conv2d.default", "convmixer.mix_channels.default"]
    assert all(out.dtype is torch.bfloat16 and out.is_contiguous() for out in found)
