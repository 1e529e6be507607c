"""The weights that ship with the project are what their model card says."""

import re

import pytest
from conftest import PROJECT

WEIGHTS = PROJECT / "weights" / "small-cifar10-jpeg.safetensors"


def accuracy_on_the_card() -> str:
    return re.search(r"test accuracy \| (\d\d\.\d\d%)", WEIGHTS.with_suffix(".md").read_text()).group(1)


def test_they_are_small() -> None:
    assert WEIGHTS.stat().st_size < 2 * 2**20


def test_readme_says_the_same_as_the_card() -> None:
    assert accuracy_on_the_card().rstrip("%") in (PROJECT / "README.md").read_text()


@pytest.mark.slow
def test_evaluate_measures_what_the_card_says(command, cifar_zip) -> None:
    data = ("data.dataset=images", f"data.path={cifar_zip}")
    measured = command("evaluate", str(WEIGHTS), *data).stdout
    found = float(re.search(r"test accuracy (\d\d\.\d\d)% of 10,000 images", measured).group(1))
    # Another processor may round otherwise, and turn an image or two.
    assert found == pytest.approx(float(accuracy_on_the_card().rstrip("%")), abs=0.1)
