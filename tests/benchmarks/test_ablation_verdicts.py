"""Verdicts on training options: by the spread over seeds, with a rule that was written before the runs."""

import pytest

from benchmarks import ablations
from convmixer.configs import Configs
from convmixer.configs.overrides import split_assignments
from convmixer.errors import UserError


def rows(**accuracies: list[float]) -> list[dict[str, str]]:
    """Rows of options, a seed for each accuracy."""
    return [
        {"option": option, "seed": str(seed), "valid": str(accuracy)}
        for option, valid in accuracies.items()
        for seed, accuracy in enumerate(valid)
    ]


def test_a_difference_within_three_standard_errors_is_undecided() -> None:
    table = rows(
        plain=[0.60, 0.61, 0.62],
        muon=[0.64, 0.65, 0.66],  # the same difference with each seed
        sgd=[0.59, 0.62, 0.62],  # 0.0 on average, deviation 0.01
        stochastic_depth=[0.56, 0.57, 0.58],
    )
    lines = {line.split()[0]: line for line in ablations.summary(table)[1:]}
    assert lines["muon"].split() == ["muon", "3", "65.00%", "±", "1.00%", "+4.00%", "plain", "better"]
    assert lines["sgd"].endswith("undecided") and lines["stochastic_depth"].endswith("worse")
    assert "pooled: 0.58%" in lines["deviation"]  # the root of a third of 0.01 squared


def test_an_option_of_whitening_is_compared_with_whitening() -> None:
    table = rows(plain=[0.6, 0.6], whitening=[0.7, 0.7], whitening_frozen=[0.69, 0.71])
    assert ablations.gains(table)["whitening_frozen"] == pytest.approx([-0.01, 0.01])


def test_one_seed_has_no_verdict() -> None:
    assert ablations.summary(rows(plain=[0.6], muon=[0.7]))[2].endswith("plain")


@pytest.mark.parametrize("option", ablations.OPTIONS)
def test_each_option_has_keys_and_values_that_training_takes(option: str) -> None:
    assert ablations.BESIDE.get(option, ablations.PLAIN) in ablations.OPTIONS
    Configs().override(split_assignments(ablations.TRAINING) | split_assignments(ablations.OPTIONS[option]))


def test_a_key_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="nesterov"):
        Configs().override(split_assignments(["optimizer.nesterov=1"]))
