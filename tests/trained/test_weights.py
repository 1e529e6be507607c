"""The weights that ship with the project are what their model cards say."""

import re
from pathlib import Path

import pytest
from conftest import PROJECT

SHIPPED = sorted((PROJECT / "weights").glob("*.safetensors"))

each_file = pytest.mark.parametrize("weights", SHIPPED, ids=lambda file: file.stem)


def accuracy_on_the_card(weights: Path) -> str:
    return re.search(r"test accuracy \| (\d\d\.\d\d%)", weights.with_suffix(".md").read_text()).group(1)


def test_there_are_those_of_both_recipes_for_a_cpu() -> None:
    assert [file.stem for file in SHIPPED] == ["medium-cifar10", "small-cifar10"]


@each_file
def test_they_are_small(weights: Path) -> None:
    assert weights.stat().st_size < 2 * 2**20


@each_file
def test_results_say_the_same_as_the_card(weights: Path) -> None:
    accuracy = accuracy_on_the_card(weights).rstrip("%")
    assert accuracy in (PROJECT / "results" / "README.md").read_text()
    assert f"{accuracy} %" in (PROJECT / "README.md").read_text()


@pytest.mark.slow
@each_file
def test_they_reach_it_on_the_published_images(weights: Path, command, cifar10_files) -> None:
    measured = command("evaluate", str(weights), "data.dataset=cifar10", f"data.path={cifar10_files.parent}").stdout
    found = float(re.search(r"test accuracy (\d\d\.\d\d)% of 10,000 images of cifar10", measured).group(1))
    expected = float(accuracy_on_the_card(weights).rstrip("%"))
    assert found == pytest.approx(expected, abs=0.1)  # another processor may round otherwise, and turn an image or two
