"""No point is trained twice: what is known of it is told to the study."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import standin

from convmixer.configs import Configs
from convmixer.configs.keys import keys_of
from convmixer.sweeps import storage
from convmixer.sweeps.launch import Options, _search
from convmixer.sweeps.report import table
from convmixer.sweeps.space import Space
from convmixer.sweeps.space_text import read_space


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs_trained(here: Path) -> int:
    """By what was started, not by what is there now."""
    logs = here.glob("logs/sweeps/*/trials/*.log")
    return sum(line.startswith("$ train") for log in logs for line in log.read_text().splitlines())


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_that_comes_back_to_a_point_learns_its_value_at_no_cost(jobs: int, here: Path) -> None:
    standin.drive({"trials": 9, "space": {"x": "0.1,0.3"}, "sampler": "random", "seeds": 2, "jobs": jobs})
    trials = storage.load("standin").trials
    assert list(table(storage.load("standin"))["state"]) == ["complete"] * 9
    assert runs_trained(here) == 4  # two points, two seeds
    for trial in trials:
        first = next(t for t in trials if t.params == trial.params)
        assert trial.value == first.value and trial.user_attrs["runs"] == first.user_attrs["runs"]
        assert trial.user_attrs["deviation"] == first.user_attrs["deviation"]
        assert trial.intermediate_values == first.intermediate_values
        assert trial.user_attrs.get("same_as") == (None if trial is first else first.number)


def test_that_is_shown(capsys, here: Path) -> None:
    standin.drive({"trials": 4, "space": {"x": "0.1,0.3"}, "sampler": "random", "jobs": 1, "screen": True})
    assert capsys.readouterr().out.count(", known from trial ") == 2


def test_a_point_that_was_pruned_is_resumed_not_begun_again(here: Path, monkeypatch) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "1.5")
    settings = {"space": {"x": "0.3,0.31,0.29,0.3001,0.9"}, "sampler": "grid", "pruner": "median", "jobs": 1}
    standin.drive({**settings, "trials": 5})
    assert list(table(storage.load("standin"))["state"]) == ["complete"] * 4 + ["pruned"]
    study = storage.load("standin")
    study.enqueue_trial({"x": 0.9})
    standin.drive({**settings, "trials": 6, "sampler": "random", "pruner": "none"})
    assert storage.load("standin").trials[5].value == pytest.approx(1 - 0.36 - 0.02)
    assert runs_trained(here) == 5


def test_a_grid_takes_up_what_a_search_has_left(here: Path) -> None:
    space = {"x": "0.1,0.2,0.3,0.4", "fate": "ok,nan if x=0.3"}
    standin.drive({"trials": 2, "space": space, "sampler": "random"})
    standin.drive({"trials": 100, "space": space, "sampler": "grid"})
    trials = storage.load("standin").trials
    points = {tuple(sorted(t.params.items())) for t in trials}
    assert len(points) == 5 and runs_trained(here) == 5


def space(**values: str) -> Space:
    return read_space(values, keys_of(Configs), "test")


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ({"d_model": "8,16"}, {}, ("grid", 2)),
        ({"d_model": "8,16"}, {"trials": 5}, ("grid", 5)),  # of which a study makes 2
        ({"d_model": "8,16,32"}, {"trials": 2}, ("tpe", 2)),
        ({"d_model": "8,16"}, {"trials": 5, "sampler": "random"}, ("random", 5)),
        ({"d_model": "8,16", "n_layers": "range(2,30,2)"}, {}, ("tpe", 20)),
        ({"d_model": "int(8,9)"}, {}, ("grid", 20)),
        ({"d_model": "8,16", "label_smoothing": "uniform(0,0.1)"}, {}, ("tpe", 20)),
        ({"d_model": "8,16", "n_layers": "range(2,30,2)"}, {"sampler": "grid"}, ("grid", 28)),
        ({"d_model": "8,16", "n_layers": "range(2,30,2)"}, {"sampler": "grid", "trials": 3}, ("grid", 3)),
    ],
)
def test_a_space_says_how_it_is_searched(values: dict, options: dict, expected: tuple) -> None:
    sampler, trials, why = _search(space(**values), Options(**options))
    assert (sampler, trials) == expected and sampler in why
