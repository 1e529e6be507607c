"""The weights that ship with the project are what their model card says."""

import re

import pytest
from conftest import PROJECT

WEIGHTS = PROJECT / "weights" / "small-cifar10.safetensors"


def accuracy_on_the_card() -> str:
    return re.search(r"test accuracy \| (\d\d\.\d\d%)", WEIGHTS.with_suffix(".md").read_text()).group(1)


def test_they_are_small() -> None:
    assert WEIGHTS.stat().st_size < 2 * 2**20


def test_results_say_the_same_as_the_card() -> None:
    assert accuracy_on_the_card().rstrip("%") in (PROJECT / "results" / "README.md").read_text()
    assert accuracy_on_the_card().replace("%", " %") in (PROJECT / "README.md").read_text()


@pytest.mark.slow
def test_they_reach_it_on_the_published_images(command, cifar10_files) -> None:
    measured = command("evaluate", str(WEIGHTS), "data.dataset=cifar10", f"data.path={cifar10_files.parent}").stdout
    found = float(re.search(r"test accuracy (\d\d\.\d\d)% of 10,000 images of cifar10", measured).group(1))
    expected = float(accuracy_on_the_card().rstrip("%"))
    assert found == pytest.approx(expected, abs=0.1)  # another processor may round otherwise, and turn an image or two
