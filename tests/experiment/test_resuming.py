"""A run is resumed on the data that it was trained on, and on no other."""

import pytest

from convmixer.errors import UserError
from convmixer.experiment.resuming import _check_same_data


def test_classes_that_an_older_version_recorded_as_on_a_macs_disk_are_the_same() -> None:
    _check_same_data({"classes": ["caf\u00e9", "dog"]}, {"classes": ["cafe\u0301", "dog"]})
    with pytest.raises(UserError, match="trained on other images: classes was"):
        _check_same_data({"classes": ["caf\u00e9", "dog"]}, {"classes": ["cafe", "dog"]})


@pytest.mark.parametrize("recorded", [None, 3, [3], "dog"])
def test_classes_that_are_none_are_other_ones(recorded: object) -> None:
    with pytest.raises(UserError, match="trained on other images"):
        _check_same_data({"classes": ["dog"]}, {"classes": recorded})
