"""Training that diverges: what counts as that, and how far a run goes back for it with `on_nan=rewind`."""

import math

from convmixer.errors import TrainingFault

MOST_REWINDS = 3
RATE_FACTOR = 0.5  # of the learning rate, for each time the run went back
ENOUGH_IMAGES = 64  # for a mean loss: below, a single image that the network is wrong about makes a jump


class Diverged(TrainingFault):
    """The loss or a weight is no longer finite, or the loss jumped up."""


def is_spike(loss: float, epoch_loss: float, n_classes: int) -> bool:
    """Tell if a mean training loss is a jump and no noise; it is of `ENOUGH_IMAGES` or more.

    It is a jump where it is above twice the mean over the last whole epoch, and above ln(n_classes), which is what
    guessing gives: a network that is this bad has lost what it had learned. No source; our own definition.

    Args:
        epoch_loss: of the last whole epoch, infinity before there is one.
    """
    return loss > max(2 * epoch_loss, math.log(n_classes))


def check_may_rewind(problem: Diverged, on_nan: str, rewinds: int) -> None:
    """Raise `problem` again where a run should stop for it, or has gone back too often.

    Args:
        on_nan: the key's value.
        rewinds: how often the run will have gone back, this time included.
    """
    if on_nan == "stop":
        raise problem
    if rewinds > MOST_REWINDS:
        raise Diverged(f"{problem}, after going back {MOST_REWINDS} times") from None
