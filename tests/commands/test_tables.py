"""Tables fit the terminal: nothing that identifies is cut, other columns are broken into lines or left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convmixer.commands.tables import GAP, Column, fitting, least_width
from convmixer.configs import Configs
from convmixer.configs.keys import keys_of


@pytest.mark.parametrize("width", [40, 80, 200])
def test_configs_names_every_key_in_full(width: int, here, call, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = call("configs").out.splitlines()
    assert max(map(len, lines)) <= width
    assert {*keys_of(Configs)} <= {line.split(" ")[0] for line in lines}


def test_piped_a_row_is_a_line(here, call, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert len(call("configs").out.splitlines()) == 1 + len(keys_of(Configs))


COLUMNS = st.lists(st.builds(Column, st.text("ab", min_size=1), st.just([]), st.integers(0, 3), st.booleans()))


@given(COLUMNS, st.integers(1, 60))
def test_the_columns_that_matter_least_go_first(columns: list[Column], width: int) -> None:
    shown = fitting(columns, width)
    assert [c for c in columns if c.rank == 0] == [c for c in shown if c.rank == 0]
    assert least_width(shown) <= width or not any(c.rank for c in shown)
    left_out = list(columns)
    for column in shown:
        left_out.remove(column)
    highest = max((c.rank for c in shown), default=0)
    assert all(c.rank >= highest for c in left_out if c.rank) and GAP == 2
