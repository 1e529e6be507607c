"""`check lr`: a short training with a growing learning rate, and what it suggests."""

import math
import re

import pytest
from PIL import Image

from convmixer.experiment.learning_rate_range import RANGE, RangeTest, picture


def test_a_rate_is_suggested_and_drawn_and_no_run_is_left(tiny_run_overrides, call, here) -> None:
    said = call("check", "lr", *tiny_run_overrides, "optimizer.learning_rate=0.01", "optimizer.optimizer=AdamW").out
    fastest, lowest = map(float, re.search(r"falls fastest at \S+=(\S+), and is lowest at (\S+) ", said).groups())
    assert 0.01 * RANGE[0] < fastest <= lowest < 0.01 * RANGE[1]
    assert min(Image.open(here / "learning-rate.png").size) > 300
    assert not (here / "logs").exists()


def test_the_suggestion_is_where_the_loss_falls_fastest_before_its_lowest() -> None:
    rates = [10 ** (n / 10 - 5) for n in range(60)]
    losses = [2 / (1 + math.exp((math.log10(rate) + 3) * 4)) + 10 * rate for rate in rates]  # falls around 1e-3
    found = RangeTest(rates, losses, losses)
    assert found.steepest == pytest.approx(1e-3, rel=0.3)
    assert found.steepest < found.lowest < 0.1
    assert picture(found).axes


def test_the_first_losses_are_too_few_to_be_looked_at() -> None:
    rates = [10 ** (n / 10 - 5) for n in range(60)]
    losses = [2 / (1 + math.exp((math.log10(rate) + 3) * 4)) + 10 * rate for rate in rates]
    losses[:3] = [9.0, 6.0, 4.0]  # one odd batch, in a moving average of three
    assert RangeTest(rates, losses, losses).steepest == pytest.approx(1e-3, rel=0.3)


def test_the_default_is_still_one_batch(tiny_run_overrides, call) -> None:
    assert "ok: one batch of " in call("check", *tiny_run_overrides).out


def test_a_picture_that_can_not_be_written_is_said_before_training(tiny_run_overrides, refusal) -> None:
    assert "there is no folder nowhere" in refusal(["check", "lr", *tiny_run_overrides, "--output", "nowhere/x.png"])
