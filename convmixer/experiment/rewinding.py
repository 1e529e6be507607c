"""Trains to the end. With `on_nan=rewind`, a training that diverges goes back, at a smaller learning rate."""

from collections.abc import Callable
from typing import Any, Protocol

from convmixer.experiment.experiment import Experiment
from convmixer.training.divergence import Diverged, check_may_rewind
from convmixer.training.observer import Observer

State = dict[str, Any]


class RewindObserver(Observer, Protocol):
    """An observer that is also told when the training goes back."""

    def rewound(self, problem: Diverged, state: State) -> None:
        """Take note that the training went back to `state` because of `problem`."""


def fit(experiment: Experiment, observer: RewindObserver, epoch_end: Callable[[], State | None]) -> None:
    """Train the remaining updates. Each worker calls this; the checkpoints of the first worker are used.

    Args:
        epoch_end: returns the newest good checkpoint from the end of an epoch, or None; only called in the first
            worker.

    Raises:
        Diverged: the loss or a weight is not finite or the loss jumped up, and the run can't or may not go back.
    """
    trainer, workers = experiment.trainer, experiment.workers
    while trainer.step < trainer.total_steps:
        try:
            trainer.fit(observer)
        except Diverged as problem:
            rewinds = trainer.rewinds + 1
            check_may_rewind(problem, experiment.values["on_nan"], rewinds)
            state = workers.broadcast(epoch_end() if workers.is_first else None)
            if state is None:
                raise Diverged(f"{problem}, and there is no good checkpoint from the end of an epoch") from None
            trainer.load_state_dict(state)
            trainer.rewinds = rewinds
            observer.rewound(problem, state)
