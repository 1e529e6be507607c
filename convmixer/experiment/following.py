"""Trains in a worker that records nothing: the first worker decides, records and tests."""

from typing import Any

from convmixer.experiment import rewinding
from convmixer.experiment.experiment import Experiment
from convmixer.experiment.failures import in_one_line
from convmixer.experiment.live_changes import LiveChanges
from convmixer.project import command
from convmixer.training.distributed import torchrun
from convmixer.training.distributed.workers import Workers
from convmixer.training.divergence import Diverged
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer


def follow(experiment: Experiment) -> None:
    """Train together with the first worker, from the state that it sends.

    Raises:
        TrainingFault: training could not continue.
        Interrupted: a signal stopped the training.
    """
    trainer, workers = experiment.trainer, experiment.workers
    stop = StopRequest(is_patient=True)
    uuid, state, known = workers.broadcast(None)
    changes = LiveChanges(experiment, None, known, say=lambda line: None)

    def how_to_resume(error: Exception | None) -> str:
        resume = f"{command(torchrun.launcher())} resume {uuid}"
        return f"resume from the last checkpoint, if there is one, with: {resume}"

    with in_one_line(trainer, stop, how_to_resume), stop:
        if state:
            trainer.load_state_dict(state)
            trainer.total_steps = state["total_steps"]
        changes.restore()
        rewinding.fit(experiment, _Follower(workers, stop, changes), lambda: None)


class _Follower:
    """An observer of the trainer that records nothing."""

    def __init__(self, workers: Workers, stop: StopRequest, changes: LiveChanges) -> None:
        self.workers = workers
        self.stop = stop
        self.changes = changes

    def metrics(self, images: int, values: dict[str, float]) -> None:
        pass

    def stepped(self, trainer: Trainer) -> None:
        self.changes.after_update()

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        pass

    def rewound(self, problem: Diverged, state: dict[str, Any]) -> None:
        self.changes.restore()

    def should_stop(self) -> bool:
        return self.stop.is_agreed(self.workers)

    def checkpoint_is_due(self) -> bool:
        return bool(self.workers.all_reduce_max(None))

    def checkpoint(self, trainer: Trainer) -> None:
        pass
