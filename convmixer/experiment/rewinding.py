"""Training to the end, back to an earlier state where it diverges: with `on_nan=rewind`, at a smaller learning rate."""

from collections.abc import Callable
from typing import Any, Protocol

from convmixer.experiment.experiment import Experiment
from convmixer.training.divergence import Diverged, check_may_rewind
from convmixer.training.trainer import Observer

State = dict[str, Any]


class RewindObserver(Observer, Protocol):
    """An observer that is also told when training went back."""

    def rewound(self, problem: Diverged, state: State) -> None:
        """Training goes on from `state`, as `problem` came up."""


def fit(experiment: Experiment, observer: RewindObserver, epoch_end: Callable[[], State | None]) -> None:
    """Train what is left. Each worker calls this; the first one's checkpoints count.

    Args:
        epoch_end: the newest checkpoint of an epoch's end, None where none is good; asked in the first worker alone.

    Raises:
        Diverged: the loss or a weight became wrong, and the run may not go back, or can't.
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
                raise Diverged(f"{problem}, and no checkpoint of an epoch's end is whole") from None
            trainer.load_state_dict(state)
            trainer.rewinds = rewinds
            observer.rewound(problem, state)
