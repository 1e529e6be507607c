"""What a report says of a study."""

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution

from convmixer.sweeps.report import importances


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
