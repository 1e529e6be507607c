"""labml's own dynamic hyperparameters in a user's script: `set` changes what they return, recorded and made again."""

from pathlib import Path

import pytest
from conftest import PROJECT, metrics_saved, wait_for
from labml.internal.configs.dynamic_hyperparam import FloatDynamicHyperParam, IntDynamicHyperParam
from run_folders import assert_same_result, only_run

from convmixer.configs import Configs
from convmixer.configs.keys import keys_of
from convmixer.tracking.runs import all_runs

SCRIPT = """
import sys
sys.path.insert(0, PROJECT)
from labml.configs import option
from labml.internal.configs.dynamic_hyperparam import FloatDynamicHyperParam

import convmixer
from convmixer.configs import Configs
from convmixer.model.layers import ConvMixerLayer


class Shared(ConvMixerLayer):
    def forward(self, x):
        return super().forward(x) + self.share() * x


class MyConfigs(Configs):
    rate: FloatDynamicHyperParam = FloatDynamicHyperParam(0.01, range_=(0, 0.1))
    share: FloatDynamicHyperParam = "half"
    layer = "shared"


@option(MyConfigs.share)
def half():
    return FloatDynamicHyperParam(0.5)


@option(MyConfigs.schedule)
def by_hand(c: MyConfigs):
    return lambda fraction: c.rate() / 0.01


@option(MyConfigs.layer)
def shared(c: MyConfigs):
    layer = Shared(c.d_model, c.kernel_size)
    layer.share = c.share
    return layer


if __name__ == "__main__":
    convmixer.main(MyConfigs)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.replace("PROJECT", repr(str(PROJECT))))
    return script


def test_set_changes_what_a_script_s_own_return_and_a_resumed_run_has_the_same_bits(
    mine, start, command, tiny_run_overrides, tmp_path
) -> None:
    words = [word for word in tiny_run_overrides if not word.startswith("epochs")]
    long = ["epochs=400", "checkpoint.minutes=1000", "rate=0.02", "schedule=by_hand"]
    training = start(*words, *long, script=mine)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 1, training, seconds=200)
    run = only_run(tmp_path)
    assert run.given["rate"] == 0.02 and run.recorded["share"] == "half"
    assert (
        "rate=0.2 is wrong, expected a number from 0 up to 0.1"
        in command("set", "last", "rate=0.2", script=mine, status=2).stderr
    )
    said = command("set", "last", "rate=0.003", "share=0.25", script=mine).stdout
    assert ": rate=0.003 (was 0.02)" in said and ": share=0.25 (was 0.5)" in said
    wait_for(lambda: run.metrics["optim.lr"].dropna().iloc[-1] < run.metrics["optim.lr"].iloc[0], training, seconds=200)
    rates = run.metrics["optim.lr"].dropna()
    assert rates.iloc[-1] == pytest.approx(rates.iloc[0] * 0.003 / 0.02)
    assert set(run.metrics["hp.rate"].dropna()) == {0.02, 0.003} and {0.5, 0.25} <= set(run.metrics["hp.share"])
    training.kill()
    training.wait()
    command("set", "last", "epochs=20", script=mine)
    command("resume", "last", script=mine)
    evaluated = command("evaluate", "last", script=mine).stdout
    assert f"{run.summary['accuracy.test']:.2%}" in evaluated  # with the share that it ended with
    command(*words, *long, f"changes={run.folder / 'changes.jsonl'}", script=mine)
    assert_same_result(*all_runs(tmp_path / "logs"))


class Plain(Configs):
    rate: FloatDynamicHyperParam = FloatDynamicHyperParam(0.5)
    large: float = FloatDynamicHyperParam(3.0)  # not in labml's default range, which then does not count
    count: IntDynamicHyperParam = IntDynamicHyperParam(8)


def test_each_run_has_its_own_which_labml_knows_by_its_key() -> None:
    first, second = Plain(), Plain()
    first.override({"rate": 0.25})
    second.override({"count": 3})
    first.rate.set_value(0.75)
    assert (first.rate(), second.rate(), first.count(), second.count(), first.large()) == (0.75, 0.5, 8, 3, 3.0)
    assert first.rate._key == "rate" and Plain().rate is not first.rate
    assert first.values()["rate"] == 0.25 and first.given() == {"rate": 0.25}


def test_the_range_and_type_are_checked_as_those_of_any_key() -> None:
    keys = keys_of(Plain)
    assert keys["rate"].expected() == "a number from 0 up to 1"
    assert keys["large"].expected() == "a number"
    assert keys["count"].expected() == "an integer from 1 up to 16" and keys["count"].default == 8
