"""What counts as a jump of the loss."""

import math

import pytest

from convmixer.training.divergence import is_spike


@pytest.mark.parametrize(
    ("loss", "epoch_loss", "expected"),
    [
        (2.4, 0.5, True),  # worse than guessing, and it was much better
        (2.2, 0.5, False),  # not worse than guessing: ln(10) is 2.303
        (4.0, 2.2, False),  # not twice as bad as it was
        (0.2, 0.01, False),  # noise of a network that has learned
        (1e9, math.inf, False),  # within the first epoch there is nothing to hold it against
    ],
)
def test_a_spike_is_worse_than_guessing_and_twice_the_epoch_before(loss, epoch_loss, expected) -> None:
    assert is_spike(loss, epoch_loss, n_classes=10) == expected
