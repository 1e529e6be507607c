"""The shapes of the learning-rate schedules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convmixer.training.schedules import constant, cosine, paper, trapezoid


@pytest.mark.parametrize(
    ("fraction", "factor"), [(0, 0), (0.2, 0.5), (0.4, 1), (0.6, 0.525), (0.8, 0.05), (0.9, 0.025), (1, 0)]
)
def test_paper_is_piecewise_linear(fraction: float, factor: float) -> None:
    assert paper(fraction) == pytest.approx(factor)


@pytest.mark.parametrize(("fraction", "factor"), [(0, 0), (0.025, 0.5), (0.05, 1), (0.525, 0.5), (1, 0)])
def test_cosine_warms_up_for_a_twentieth(fraction: float, factor: float) -> None:
    assert cosine(fraction) == pytest.approx(factor)


@pytest.mark.parametrize(("fraction", "factor"), [(0, 0), (0.025, 0.5), (0.05, 1), (0.8, 1), (0.9, 0.5), (1, 0)])
def test_trapezoid_stays_at_the_top_until_the_last_fifth(fraction: float, factor: float) -> None:
    assert trapezoid(fraction) == pytest.approx(factor)


@given(st.floats(0, 1))
def test_all_stay_between_nothing_and_the_configured_rate(fraction: float) -> None:
    for schedule in (paper, cosine, trapezoid, constant):
        assert 0 <= schedule(fraction) <= 1
