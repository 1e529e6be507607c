"""What a report says of a study."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from convmixer.sweeps.executors import LocalExecutor
from convmixer.sweeps.importance import importances
from convmixer.sweeps.pictures import UNUSED, figures, ticks, titles
from convmixer.sweeps.report import BEST, ranked, table, write


def test_the_key_that_decides_is_found_among_twenty_trials() -> None:
    """Width decides, as in results/sweep-small-3-epochs; the other key is noise."""
    study = optuna.create_study(direction="maximize")
    space = {"d_model": IntDistribution(16, 48, step=16), "optimizer.weight_decay": FloatDistribution(0, 1)}
    for i, noise in enumerate(np.random.default_rng(0).random(20).tolist()):
        width = 16 * (1 + i % 3)
        value = 0.4 + width / 200 + 0.01 * noise
        parameters = {"d_model": width, "optimizer.weight_decay": noise}
        study.add_trial(optuna.trial.create_trial(params=parameters, distributions=space, value=value))
    found = importances(study)
    assert found["d_model"] > 0.8 > 0.2 > found["optimizer.weight_decay"]


def test_nothing_is_said_of_a_study_without_trials() -> None:
    assert importances(optuna.create_study()) == {}


@pytest.fixture
def study() -> optuna.Study:
    """Five trials: the last is the best, one has failed, one was stopped early; momentum counts for SGD alone."""
    space = {
        "n_layers": IntDistribution(2, 8, step=2),
        "optimizer.optimizer": CategoricalDistribution(("AdamW", "SGD")),
        "optimizer.momentum": FloatDistribution(0, 1),
    }
    study = optuna.create_study(direction="maximize", study_name="mine")
    settings = {"searched": dict.fromkeys(space), "fixed": {"epochs": 4}, "seeds": [0], "objective": "accuracy.valid"}
    study.set_user_attr("settings", settings | {"direction": "maximize"})
    study.set_user_attr("script", "experiment.py")
    for i, (state, value) in enumerate(zip("CFPCC", (0.5, None, 0.7, 0.6, 0.8), strict=True)):
        used = dict(list(space.items())[: 3 if i == 3 else 2])
        params = {"n_layers": 2 + 2 * (i % 3), "optimizer.optimizer": "SGD" if i == 3 else "AdamW"}
        params |= {"optimizer.momentum": 0.25} if i == 3 else {}
        states = {"C": TrialState.COMPLETE, "F": TrialState.FAIL, "P": TrialState.PRUNED}
        curve = {} if value is None else {epoch: value - 0.1 / epoch for epoch in (1, 2, 3, 4)}
        study.add_trial(
            create_trial(state=states[state], value=value, params=params, distributions=used, intermediate_values=curve)
        )
    return study


def test_the_best_is_first_and_marked_and_nothing_is_shown_that_is_not_there(study) -> None:
    rows = ranked(study)
    assert list(rows["trial"]) == ["4", "3", "0", "2", "1"] and list(rows[""]) == [BEST, "", "", "", ""]
    assert list(rows["accuracy.valid"]) == ["0.8", "0.6", "0.5", "0.7", ""]
    assert list(rows["optimizer.momentum"]) == ["", "0.25", "", "", ""]
    assert not {"deviation", "reason", "runs", "log", "value"} & set(rows.columns)
    assert not rows.isin(["None", "nan"]).any(axis=None)
    assert list(table(study)["trial"]) == [0, 1, 2, 3, 4]  # as a library gives it, and as it is in trials.csv


def test_axes_have_the_name_of_the_metric_and_whole_numbers_where_these_are_whole(study) -> None:
    drawn = dict(zip(titles("accuracy.valid"), (figure for _, figure in figures(study)), strict=True))
    assert "Objective" not in str(drawn) and "None" not in str([f.layout for f in drawn.values()])
    assert drawn["history"].layout.yaxis.title.text == drawn["epochs"].layout.yaxis.title.text == "accuracy.valid"
    assert drawn["epochs"].layout.xaxis.title.text == "epoch" and drawn["epochs"].layout.xaxis.dtick == 1
    axes = {axis.label: axis for axis in drawn["parallel"].data[0].dimensions}
    assert list(axes["n_layers"].ticktext) == ["2", "4"] and UNUSED in axes["optimizer.momentum"].ticktext
    assert list(axes["optimizer.optimizer"].ticktext) == ["AdamW", "SGD"]


def test_a_study_of_one_key_is_drawn(study) -> None:
    one = optuna.create_study(direction="maximize")
    one.set_user_attr("settings", study.user_attrs["settings"])
    for n, value in ((2, 0.5), (4, 0.6), (8, 0.7)):
        one.add_trial(create_trial(params={"n": n}, distributions={"n": IntDistribution(2, 8)}, value=value))
    (slices,) = (figure for title, figure in figures(one) if title.startswith("Slices"))
    assert slices.layout.xaxis.tickvals == (2, 4, 8)


def test_a_report_of_one_trial_has_a_page(study, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    alone = optuna.create_study(direction="maximize", study_name="alone")
    for name, value in study.user_attrs.items():
        alone.set_user_attr(name, value)
    alone.add_trial(study.trials[0])
    (tmp_path / "logs/sweeps/alone").mkdir(parents=True)
    files = write(alone)
    page = files[0].read_text()
    assert "Too few complete trials for this one." in page and ">None<" not in page and 'class="best"' in page


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([4, 2, 2], [2, 4]),
        (list(range(1, 101)), [1, 21, 41, 60, 80, 100]),
        ([0.5, 1.5], [0.5, 0.7, 0.9, 1.1, 1.3, 1.5]),
    ],
)
def test_ticks_are_few_and_whole_for_whole_numbers(values, expected) -> None:
    assert ticks(values) == pytest.approx(expected)


def test_the_number_of_threads_that_a_user_has_set_is_kept(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert LocalExecutor(tmp_path / "x.py", 1, [])._threads == "3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("convmixer.sweeps.executors.cores", lambda: 8)
    assert LocalExecutor(tmp_path / "x.py", 2, [])._threads == "4"
