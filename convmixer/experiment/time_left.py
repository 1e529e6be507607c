"""Says how much time the remaining updates of a training take, by the speed of its last epoch."""

from convmixer.training.trainer import Trainer

# An update with a share of an image's pixels takes that share to this power of the time: 0.63 with 24x24 of 32x32, 0.47
# with 20x20. Measured, from the images/s of epochs: 0.67 and 0.54 with `small` (the runs with small crops in
# results/trials.csv), 0.47 with `medium`.
POWER = 0.8


class TimeLeft:
    """The time that the remaining updates take, validation included.

    It is reckoned anew after each epoch, so that it follows the machine and what `set` changes.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._step, self._seconds = trainer.step, trainer.seconds

    def work(self, first: int, last: int) -> float:
        """Return how much the updates from `first` to `last` compute: an update with whole images is 1."""
        until = self._trainer.full_augmentation_until()
        until = last if until is None else min(max(until, first), last)
        return (until - first) * self._trainer.train.share_of_pixels**POWER + (last - until)

    def after_epoch(self) -> float:
        """Return the seconds for the remaining updates at the speed since the last call."""
        trainer = self._trainer
        seconds, done = trainer.seconds - self._seconds, self.work(self._step, trainer.step)
        self._step, self._seconds = trainer.step, trainer.seconds
        return seconds / done * self.work(trainer.step, trainer.total_steps)
