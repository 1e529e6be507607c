"""Defines when a training diverges, and how often a run may go back with `on_nan=rewind`."""

import math

from convmixer.errors import TrainingFault

MOST_REWINDS = 3
RATE_FACTOR = 0.5  # of the learning rate, for each time the run went back
ENOUGH_IMAGES = 64  # for a mean loss: below, a single image that the network is wrong about makes a jump


class Diverged(TrainingFault):
    """The error if the loss or a weight is no longer finite, or the loss jumped up."""


def is_spike(loss: float, epoch_loss: float, n_classes: int) -> bool:
    """Return True if a mean training loss, over `ENOUGH_IMAGES` or more, is a jump and not noise.

    It is a jump if it is above twice the mean over the last whole epoch, and above ln(n_classes), the loss of
    random guessing: the network has lost what it had learned. No source; our own definition.

    Args:
        loss: the mean loss.
        epoch_loss: the mean loss of the last whole epoch; infinity in the first epoch.
    """
    return loss > max(2 * epoch_loss, math.log(n_classes))


def check_may_rewind(problem: Diverged, on_nan: str, rewinds: int) -> None:
    """Check that a run may go back because of `problem`.

    Args:
        on_nan: the key's value.
        rewinds: how often the run has gone back, including this time.

    Raises:
        Diverged: the run should stop, or has gone back too often.
    """
    if on_nan == "stop":
        raise problem
    if rewinds > MOST_REWINDS:
        raise Diverged(f"{problem}, after going back {MOST_REWINDS} times") from None
