"""What the kernels' tests share."""

import os
from collections.abc import Iterator

import pytest
import torch

from convmixer.model.kernels.build import Library, outcome


@pytest.fixture
def native() -> Library:
    """The compiled kernels. Where they must be there (CI), their absence fails."""
    built = outcome()
    if not isinstance(built, Library):
        if os.environ.get("CONVMIXER_CI"):
            pytest.fail(str(built))
        pytest.skip(str(built))
    return built


@pytest.fixture
def poisoned() -> Iterator[None]:
    """torch.empty is full of NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def threads() -> Iterator[None]:
    """The number of threads is as before afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
