"""`cuda_graph=true` where it can't be: one line, before anything is trained."""

import pytest
import torch

from convmixer.configs import Configs, checks
from convmixer.configs.checks import check_configs
from convmixer.errors import UserError
from convmixer.training.distributed.workers import ALONE, Workers

REFUSED = [
    ({"precision": "float16"}, ALONE, "precision=float16, whose loss scaling waits for the GPU"),
    ({}, Workers(0, 2), "cuda_graph=true works in one process, not under torchrun"),
    ({"compile": True, "compile_mode": "reduce-overhead"}, ALONE, "exclude each other: both record CUDA graphs"),
]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(checks, "choose_precision", lambda name, device: getattr(torch, name, torch.bfloat16))


def configs(**given: object) -> Configs:
    made = Configs()
    made.override({"data.dataset": "shapes", "cuda_graph": True, "recipe": "small"} | given)
    return made


@pytest.mark.parametrize(("given", "workers", "expected"), REFUSED)
def test_it_is_refused_in_words(given: dict, workers: Workers, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check_configs(configs(**given), workers)


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "Muon"])
def test_it_goes_with_every_optimizer_here_and_with_torch_compile(optimizer: str) -> None:
    check_configs(configs(**{"optimizer.optimizer": optimizer, "compile": True, "gradient_clip": 1.0}))


def test_an_optimizer_of_one_s_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state may begin with other numbers than zeros, and it may wait for the GPU."""
    made = configs()
    values = made.values() | {"optimizer.optimizer": "Lion"}
    monkeypatch.setattr(Configs, "values", lambda self: values)
    with pytest.raises(UserError, match=r"works with optimizer\.optimizer=AdamW, SGD, Muon"):
        check_configs(made)
