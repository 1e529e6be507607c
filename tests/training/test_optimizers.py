"""Which parameters decay, which are Muon's, and what an update does to them."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convmixer.errors import UserError
from convmixer.model.layers import ConvMixer
from convmixer.model.variants import conv_mixer
from convmixer.training.muon import BatchedMuon
from convmixer.training.optimizers import (
    OF_DEVICE,
    MuonAndAdamW,
    adamw,
    decaying_groups,
    faster_norm_biases,
    hidden_matrices,
    learning_rates_on,
    load_state,
    parameter_groups,
    set_learning_rate,
    sgd,
)


def test_norms_and_biases_do_not_decay_unless_asked() -> None:
    model = conv_mixer(8, 2, 3, 2)
    decayed, exempt = parameter_groups(model, 0.1, decay_norms_and_biases=False)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in decayed["params"]} == {"weight"}
    assert all(".norm" in names[id(p)] or names[id(p)].endswith("bias") for p in exempt["params"])
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(exempt["params"]) == len(names)
    (everything,) = parameter_groups(model, 0.1, decay_norms_and_biases=True)
    assert len(everything["params"]) == len(names)


@pytest.mark.parametrize("treatment", ["not_decayed", "frozen"])
def test_the_first_convolution_s_filters_may_be_spared(treatment: str) -> None:
    model = conv_mixer(8, 2, 3, 2)
    first = model.patch_emb.conv.weight
    decayed, exempt = parameter_groups(model, 0.1, False, treatment)
    assert all(p is not first for p in decayed["params"])
    assert any(p is first for p in exempt["params"]) == (treatment == "not_decayed")
    assert first.requires_grad == (treatment == "not_decayed")
    assert all(p.requires_grad for p in model.parameters() if p is not first)


def test_adamw_is_fused_and_sgd_has_nesterov_momentum() -> None:
    groups = parameter_groups(conv_mixer(8, 1, 3, 2), 0.1, False)
    assert adamw(groups, 0.1, [0.9, 0.99], 1e-8).defaults["fused"]
    assert sgd(groups, 0.1, 0.9).defaults["nesterov"]
    assert not sgd(groups, 0.1, 0.0).defaults["nesterov"]


def test_biases_of_norms_may_learn_faster_and_decay_as_before() -> None:
    model = conv_mixer(8, 1, 3, 2)
    groups = parameter_groups(model, 0.1, decay_norms_and_biases=True)
    assert faster_norm_biases(groups, model, 0.01, factor=1) is groups
    slow, fast = faster_norm_biases(groups, model, 0.01, factor=64)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in fast["params"]} == {"bias"}
    assert len(fast["params"]) == 3 and all("norm" in names[id(p)] for p in fast["params"])
    assert len(slow["params"]) + len(fast["params"]) == len(names)
    assert fast["lr"] * fast["weight_decay"] == pytest.approx(0.01 * slow["weight_decay"])


def make_muon(model: ConvMixer, weight_decay: float = 0.0) -> MuonAndAdamW:
    groups = parameter_groups(model, weight_decay, False)
    return MuonAndAdamW(groups, hidden_matrices(model), 0.01, 0.02, weight_decay, [0.9, 0.999], 1e-8)


def update(model: ConvMixer, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(images).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("patch_size", [1, 2])
def test_muon_has_the_point_wise_weights_and_adamw_all_others(patch_size: int) -> None:
    """Also where the patch embedding is a 1x1 convolution: it is the first layer."""
    model = conv_mixer(8, 2, 3, patch_size)
    *others, muon = make_muon(model).param_groups
    expected = [layer.point_wise_conv.weight for layer in model.conv_mixer_layers]
    assert [id(p) for p in muon["params"]] == [id(p) for p in expected]
    assert muon["name"] == "muon" and all("name" not in group for group in others)
    assert sum(len(group["params"]) for group in others) + 2 == len(list(model.parameters()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_point_wise_weight_gets_the_update_of_torchs_muon_on_the_matrix(memory_format: torch.memory_format) -> None:
    """But for the iteration's rounding: torch's is in bfloat16, on a CPU ours is not."""
    torch.manual_seed(0)
    model = conv_mixer(8, 1, 3, 2).to(memory_format=memory_format)
    weight = model.conv_mixer_layers[0].point_wise_conv.weight
    start = weight.detach().flatten(1).clone()
    matrix = torch.nn.Parameter(start.clone())
    theirs, ours = torch.optim.Muon([matrix], lr=0.02, weight_decay=0.1), make_muon(model, weight_decay=0.1)
    for seed in range(3):
        update(model, ours, seed)
        matrix.grad = weight.grad.flatten(1)
        theirs.step()
    difference = (weight.flatten(1) - matrix).norm()
    assert difference <= 0.02 * (matrix - start).norm()


@given(st.lists(st.tuples(st.integers(2, 6), st.integers(2, 6)), min_size=1, max_size=5), st.integers(0, 2**31))
def test_matrices_of_equal_and_other_shapes_get_muons_update_each(shapes: list[tuple[int, int]], seed: int) -> None:
    """The iteration is written out here for one matrix, in float64; how long the gradient is does not matter to it."""
    torch.manual_seed(seed)
    matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    before = [matrix.detach().double() for matrix in matrices]
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape)
    BatchedMuon(matrices, lr=0.02, weight_decay=0.1).step()
    for matrix, start in zip(matrices, before, strict=True):
        x = matrix.grad.double() / matrix.grad.double().norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
        expected = start * (1 - 0.02 * 0.1) - 0.02 * max(1, len(x) / len(x.T)) ** 0.5 * x
        torch.testing.assert_close(matrix.detach().double(), expected, rtol=0, atol=1e-5)


def test_a_step_of_eight_equal_matrices_takes_few_operations() -> None:
    """torch.optim.Muon takes 184."""
    matrices = [torch.nn.Parameter(torch.randn(16, 16)) for _ in range(8)]
    optimizer = BatchedMuon(matrices, lr=0.02)
    for matrix in matrices:
        matrix.grad = torch.randn(16, 16)
    optimizer.step()
    with torch.profiler.profile() as profile:
        optimizer.step()
    operations = [e for e in profile.events() if e.cpu_parent is None or "step" in e.cpu_parent.name]
    assert sum(e.name.startswith("aten::") for e in operations) <= 45


MAKE = {
    "muon": lambda model: make_muon(model, 0.1),
    "adamw": lambda model: adamw(parameter_groups(model, 0.1, False), 0.01, [0.9, 0.999], 1e-8),
    "sgd": lambda model: sgd(parameter_groups(model, 0.1, False), 0.01, 0.9),
}


@pytest.mark.parametrize("make", MAKE)
def test_learning_rates_may_be_tensors_as_a_graph_needs_them(make: str) -> None:
    def trained(in_tensors: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = conv_mixer(8, 2, 3, 2)
        optimizer = MAKE[make](model)
        if in_tensors:
            learning_rates_on(optimizer, torch.device("cpu"))
        kept = [group["lr"] for group in optimizer.param_groups]
        for seed, rate in enumerate((0.01, 0.02)):
            for group in optimizer.param_groups:
                set_learning_rate(group, rate)
            update(model, optimizer, seed)
        assert not in_tensors or all(a is b["lr"] for a, b in zip(kept, optimizer.param_groups, strict=True))
        return list(model.parameters())

    torch.testing.assert_close(trained(True), trained(False))


def test_muon_follows_the_groups_learning_rates() -> None:
    model = conv_mixer(8, 1, 3, 2)
    optimizer = make_muon(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(model.state_dict())
    update(model, optimizer)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_copy_of_model_and_muon_goes_on_by_itself() -> None:
    model = conv_mixer(8, 1, 3, 2)
    optimizer = make_muon(model)
    update(model, optimizer)
    other_model, other = copy.deepcopy((model, optimizer))
    update(model, optimizer, seed=1)
    assert not torch.equal(other_model.conv_mixer_layers[0].point_wise_conv.weight, hidden_matrices(model)[0])
    update(other_model, other, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other_model.parameters(), strict=True))


def test_muon_without_matrices_is_refused() -> None:
    with pytest.raises(UserError, match="needs layers with 1x1 convolutions"):
        make_muon(conv_mixer(1, 2, 3, 2))


@pytest.mark.parametrize("make", MAKE)
def test_a_state_saved_on_another_device_leaves_how_operations_are_computed_here(make: str) -> None:
    """As a CPU's on a GPU, where a CUDA graph needs `capturable` AdamW and fused SGD."""
    model = conv_mixer(8, 1, 3, 2)
    optimizer = MAKE[make](model)
    update(model, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    for group in decaying_groups(optimizer):
        group |= {name: True for name in OF_DEVICE if name in group}
    load_state(optimizer, state)
    assert all(group.get(name, True) for group in decaying_groups(optimizer) for name in OF_DEVICE)
