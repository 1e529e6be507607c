"""`python -m benchmarks.memory`: each side takes its steps in a process of its own."""

import pytest

from benchmarks.memory import peak


@pytest.mark.slow
@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_steps_need_memory_on_top_of_what_is_imported(side: str) -> None:
    assert peak(side, "small", batch=32, steps=1) > peak(side, "small", batch=32, steps=0) > 100
