"""One script that adds a part of each of seven kinds; every command, sweeps and figures take them.

In the package each would take one file and one line as well: the function, and the line that registers it.
"""

import json
from pathlib import Path

import pytest
from conftest import PROJECT
from run_folders import only_run

SCRIPT = """
import sys
sys.path.insert(0, PROJECT)
import click
import torch
from labml.configs import option

import convmixer
from convmixer.cli import command_line
from convmixer.configs import Configs
from convmixer.configs.groups import DataConfigs, OptimizerConfigs
from convmixer.data.augmentation import OPERATIONS, Operation
from convmixer.data.splits import Split, measured
from convmixer.model.initialization import STARTS
from convmixer.training.metrics import METRICS


class MyConfigs(Configs):
    pass


@option(Configs.schedule, "linear")  # 1: a schedule
def linear():
    return lambda fraction: 1 - fraction


@option(OptimizerConfigs.optimizer, "RMSprop")  # 2: an optimizer
def rmsprop(c: OptimizerConfigs):
    return torch.optim.RMSprop(c.model.parameters(), lr=c.learning_rate)


def small_head(model, images, generator):  # 3: initial weights
    model.classification.linear.weight.data.mul_(0.1)


STARTS["small_head"] = small_head


class Invert(Operation):  # 4: an augmentation
    def __call__(self, images, draws):
        turned = draws[:, 0].to(images.device).lt(0.5)[:, None, None, None]
        return torch.where(turned, 255 - images, images)


OPERATIONS["invert"] = lambda keys, data: Invert()

METRICS["confidence"] = lambda logits, labels: logits.softmax(1).amax(1)  # 5: a metric


@option(DataConfigs.dataset, "halves")  # 6: a data set
def halves():
    images = torch.zeros(400, 8, 8, 3, dtype=torch.uint8)
    labels = torch.arange(400) % 2
    images[labels == 0, :4] = 200
    return measured("halves", ("above", "below"), Split(images, labels), Split(images[:50], labels[:50]))


@command_line.command()  # 7: a command
def hello():
    click.echo("hello from my script")


if __name__ == "__main__":
    convmixer.main(MyConfigs)
"""
FIGURES = """
import mine
from convmixer.notebook.anatomy.augmentations import augmented
from convmixer.notebook.anatomy.images import dataset_of
from convmixer.trained import load

trained = load("last", mine.MyConfigs)
dataset = dataset_of(trained, configs_class=mine.MyConfigs)
assert dataset.classes == trained.classes == ("above", "below")
keys = {name.removeprefix("augment."): value for name, value in trained.configs.items() if name.startswith("augment.")}
images = dataset.test.images[:8]
assert not (augmented(dataset, images, keys) * 255).round().byte().equal(images)
"""
PARTS = [
    *("schedule=linear", "optimizer.optimizer=RMSprop", "starts=[small_head]", "augment.ops=[flip,invert]"),
    *("metrics=[confidence,top_5]", "data.dataset=halves"),
]
SIZES = ["data.validation=100", "d_model=8", "n_layers=1", "patch_size=2", "train_batch_size=50", "epochs=2"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.replace("PROJECT", repr(str(PROJECT))))
    return script


def test_training_evaluation_and_figures_take_all_seven(command, mine, tmp_path) -> None:
    said = command(*PARTS, *SIZES, script=mine).stdout
    run = only_run(tmp_path)
    assert "halves: 300 train, 100 valid, 50 test images" in said
    assert {"confidence.valid", "top_5.valid"} <= set(run.metrics) and run.summary["top_5.test"] == 1.0
    assert run.configs["schedule"] == "linear" and run.configs["optimizer.optimizer"] == "RMSprop"
    figures = json.loads(command("evaluate", "last", "--json", "-", script=mine).stdout)
    assert figures["metrics"]["confidence"] == pytest.approx(run.summary["confidence.test"], abs=1e-4)
    assert command("hello", script=mine).stdout == "hello from my script\n"
    assert "hello" in command("--help", script=mine).stdout
    wrong = command("augment.ops=[inwert]", script=mine, status=2).stderr
    assert "did you mean invert?" in wrong or "invert" in wrong
    assert "invert" in command("configs", script=mine).stdout
    figures = tmp_path / "figures.py"  # as in a notebook, which imports the script
    figures.write_text(FIGURES)
    command(script=figures)


def test_without_the_script_its_parts_are_named(command) -> None:
    assert "expected one of" in command("schedule=linear", "data.dataset=shapes", status=2).stderr


@pytest.mark.slow
def test_a_sweep_takes_them(command, mine) -> None:
    searched = ["schedule=linear,cosine", "--trials", "2", "--objective", "confidence.valid", "--direction", "maximize"]
    said = command("sweep", *PARTS[1:], *SIZES, *searched, script=mine).stdout
    assert "2 complete" in said or said.count("complete") >= 2
