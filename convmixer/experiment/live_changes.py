"""Changes values while a run trains, as `set` asks, and again where the run is resumed or trained anew."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convmixer.data.augmentation import Augmentation
from convmixer.errors import UserError
from convmixer.experiment.experiment import Experiment
from convmixer.tracking.live_changes import (
    LIVE_LENGTHS,
    Change,
    Request,
    is_strength,
    read_changes,
    read_requests,
    write_changes,
)
from convmixer.tracking.run_folder import CHANGES, REQUESTS
from convmixer.training.adjusting import Adjuster
from convmixer.training.trainer import SAVES_PER_EPOCH


class LiveChanges:
    """The changes of one training; each worker has them, the first one reads and writes the run's files.

    Values are used from the next update on. New strengths of augmentation wait for the next epoch, since its random
    numbers are drawn at its beginning. With several workers, requests are looked for ten times an epoch.

    Args:
        experiment: before a state is loaded into its trainer.
        folder: the run's folder; None: not the first worker.
        changes: those that are known already.
        say: prints a line.
    """

    def __init__(
        self, experiment: Experiment, folder: Path | None, changes: Sequence[Change], say: Callable[[str], None]
    ) -> None:
        self.experiment = experiment
        self.folder = folder
        self.changes = list(changes)
        self.say = say
        self.first = dict(experiment.values) | {name: part() for name, part in experiment.dynamic.items()}
        self.adjuster = Adjuster(experiment.trainer, experiment.values)
        self._seen = 0  # bytes of the file of requests

    def restore(self) -> None:
        """Use the changes before the update that the trainer is at, after a state was loaded."""
        if self.changes:
            self._use()

    def after_update(self) -> None:
        """Take new requests, and use the changes that are due before the next update."""
        trainer, workers = self.experiment.trainer, self.experiment.workers
        if workers.is_alone:
            self._take(self._new_requests())
        elif trainer.step % max(1, trainer.steps_per_epoch // SAVES_PER_EPOCH) == 0:
            self._take(workers.broadcast(self._new_requests() if self.folder else None))
        due = [change for change in self.changes if change.update == trainer.step]
        if due:
            self._use()
            for change in due:
                self.say(str(change))

    def _new_requests(self) -> list[Request]:
        file = self.folder / REQUESTS
        size = file.stat().st_size if file.exists() else 0
        if size == self._seen:
            return []
        self._seen = size
        try:
            return read_requests(self.folder)[sum(change.request > 0 for change in self.changes) :]
        except UserError as error:  # no reason to end a training
            self.say(f"nothing is changed: {error}")
            return []

    def _take(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self.changes.append(self._change(request))
        if requests and self.folder:
            write_changes(self.folder, self.changes)

    def _change(self, request: Request) -> Change:
        trainer = self.experiment.trainer
        number = 1 + max((change.request for change in self.changes), default=0)
        if request.key == "stop":
            return Change(trainer.step, "steps", trainer.step, trainer.total_steps, number)
        if request.key in LIVE_LENGTHS:
            per_unit = trainer.steps_per_epoch if request.key == "epochs" else 1
            return Change(trainer.step, "steps", request.value * per_unit, trainer.total_steps, number)
        is_late = is_strength(request.key) and trainer.step % trainer.steps_per_epoch
        update = (trainer.epoch + 1) * trainer.steps_per_epoch if is_late else trainer.step
        was = self._values(update)[request.key]
        return Change(update, request.key, request.value, was, number)

    def _values(self, update: int) -> dict[str, Any]:
        """Return the value of every key before an update."""
        changed = {change.key: change.value for change in self.changes if change.update <= update}
        return self.first | changed

    def _use(self) -> None:
        trainer = self.experiment.trainer
        values = self._values(trainer.step)
        self.adjuster.set(values)
        trainer.total_steps = max(trainer.step, self._length())
        for name, part in self.experiment.dynamic.items():
            if part() != values[name]:
                part.set_value(values[name])
        if any(is_strength(change.key) for change in self.changes):
            keys = {name.removeprefix("augment."): v for name, v in values.items() if name.startswith("augment.")}
            data, train = self.experiment.dataset, trainer.train
            train.augmentation = Augmentation.of(keys, data, values["seed"], train.n_images, values["patch_size"])

    def _length(self) -> int:
        """Return the number of updates: of the last change that is used, else that before the first one."""
        trainer = self.experiment.trainer
        lengths = [change for change in self.changes if change.key == "steps"]
        used = [change.value for change in lengths if change.update <= trainer.step]
        return used[-1] if used else lengths[0].was if lengths else trainer.total_steps


def known_changes(folder: Path, repeated: str | None) -> list[Change]:
    """Return the changes that were made in a run so far, or those of another run that a new run repeats.

    Args:
        repeated: the other run's changes.jsonl.

    Raises:
        UserError: the file is damaged.
    """
    changes = read_changes(folder / CHANGES)
    if changes or not repeated:
        return changes
    changes = [replace(change, request=0) for change in read_changes(Path(repeated))]
    write_changes(folder, changes)
    return changes
