"""What of a network is compiled, and how."""

import pytest
import torch

from convmixer.model.variants import conv_mixer
from convmixer.training.compiling import compiled


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict]]:
    """What is handed to torch.compile, in place of which it is left as it is."""
    found: list[tuple[str, dict]] = []

    def noted(module: torch.nn.Module, **settings: object) -> torch.nn.Module:
        found.append((type(module).__name__, settings))
        return module

    monkeypatch.setattr(torch, "compile", noted)
    return found


def test_the_parts_of_a_network_are_compiled_each_by_itself_and_the_network_is_left_alone(compilations) -> None:
    model = conv_mixer(4, 2, 3, 2)
    parts = dict(model.named_children())
    together = compiled(model, "default")
    assert [name for name, _ in compilations] == [
        *("PatchEmbeddings", "ClassificationHead"),
        *("ConvMixerLayer", "ConvMixerLayer"),
    ]
    assert all(settings == {"dynamic": False, "mode": "default"} for _, settings in compilations)
    assert dict(model.named_children()) == parts and together is not model
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(together.eval()(images), model.eval()(images))


def test_a_graph_is_of_the_whole_network_and_so_is_a_network_of_another_kind(compilations) -> None:
    compiled(conv_mixer(4, 2, 3, 2), "reduce-overhead")
    compiled(torch.nn.Linear(2, 2), "default")
    assert [name for name, _ in compilations] == ["ConvMixer", "Linear"]


def test_planes_stay_planes_where_the_kernels_want_them(compilations) -> None:
    model = conv_mixer(4, 1, 3, 2)
    model.patch_emb.memory_format = torch.contiguous_format
    for mode, options in (("default", {}), ("reduce-overhead", {"triton.cudagraphs": True})):
        compiled(model, mode)
        assert compilations[-1][1] == {"dynamic": False, "options": options | {"layout_optimization": False}}
