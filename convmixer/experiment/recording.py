"""Trains a run: records its metrics, saves its checkpoints and shows its progress."""

from typing import Any

import torch

from convmixer.experiment import messages, rewinding
from convmixer.experiment.beginning import keep_script, known_at_start
from convmixer.experiment.experiment import Experiment
from convmixer.experiment.live_changes import LiveChanges, known_changes
from convmixer.experiment.progress import Estimate, ProgressBar
from convmixer.experiment.resuming import Checkpoint
from convmixer.experiment.time_left import TimeLeft
from convmixer.tracking import app_writer
from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints
from convmixer.training.divergence import MOST_REWINDS, RATE_FACTOR, Diverged
from convmixer.training.layer_statistics import LayerStatistics
from convmixer.training.run_checkpoints import RunCheckpoints
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer


class RecordedTraining:
    """The training of one run. It observes the trainer, passes metrics to the recorder and saves checkpoints.

    Args:
        checkpoint: the checkpoint that the run is resumed from; empty for a new run.
    """

    def __init__(
        self, experiment: Experiment, run: Run, recorder: Recorder, stop: StopRequest, checkpoint: Checkpoint
    ) -> None:
        self.experiment = experiment
        self.run = run
        self.recorder = recorder
        self.stop = stop
        self.resumed_from = checkpoint
        self.trainer = experiment.trainer
        folder = run.checkpoint("last").parent
        folder.mkdir(exist_ok=True)
        values = experiment.values
        self.layers = LayerStatistics(self.trainer, values["metrics"], values["valid_batch_size"])
        self.checkpoints = RunCheckpoints(
            folder, self.trainer.steps_per_epoch, values["checkpoint.minutes"], checkpoint.state
        )

    def start(self) -> None:
        """Begin the run, or resume it from its checkpoint."""
        state = self.resumed_from.state
        changes = known_changes(self.run.folder, self.experiment.values["changes"])
        self.experiment.workers.broadcast((self.run.uuid, state, changes))
        self.changes = LiveChanges(self.experiment, self.run.folder, changes, self.recorder.say)
        if state:
            self.trainer.load_state_dict(state)
            self._forget_missing_best(state)
            self.trainer.total_steps = state["total_steps"]
        self.changes.restore()
        self.was_mildly_augmented = self.trainer.is_mildly_augmented
        self.recorder.start(self.trainer.images)
        self.recorder.known(known_at_start(self.experiment))
        changed = keep_script(self.experiment, self.run)
        for line in [*messages.header(self.experiment, self.run), *([changed] if changed else [])]:
            self.recorder.say(line)
        if self.resumed_from.note:
            self.recorder.say(self.resumed_from.note)
        if state:
            self._compare_kernels(state.get("kernels", "torch"))
            self._compare_threads(state.get("threads"))
            state.clear()  # frees memory: it is as large as the trainer
        elif self.experiment.values["on_nan"] == "rewind":
            self._save_last()  # so that the first epoch, too, can go back to a checkpoint
        if self.experiment.values["tracking.app_url"]:
            app_writer.follow(self.run, self.experiment.values["tracking.app_url"])

    def _forget_missing_best(self, state: dict[str, Any]) -> None:
        """Save `best` at the end of the next epoch if the file of the best epoch before `state` is missing."""
        if not self.checkpoints.has_best_of(state):
            self.trainer.best_accuracy = -1.0

    def _compare_kernels(self, then: str) -> None:
        now = self.experiment.kernels.name
        if now != then:
            self.recorder.say(f"kernels were {then} before, now {now}: results may differ in the last bits")

    def _compare_threads(self, then: int | None) -> None:
        now = _threads(self.trainer.device)
        if then not in (None, now):
            self.recorder.say(f"threads were {then} before, now {now}: bits may differ from an unbroken run's")

    def fit(self) -> None:
        """Train the remaining updates."""
        shown = not self.recorder.quiet
        total = self.trainer.total_steps
        is_new = self.trainer.step == 0 and self.experiment.workers.is_alone
        may_be_shorter = is_new and self.experiment.values["minutes"] is None
        self.time_left = TimeLeft(self.trainer)
        self.estimate = Estimate(self.trainer.step, total, self.time_left.work, may_be_shorter)
        with ProgressBar(total, self.trainer.step, self.time_left.work, shown) as self.bar:
            rewinding.fit(self.experiment, self, self.checkpoints.newest_of_an_epoch_end)

    def rewound(self, problem: Diverged, state: dict[str, Any]) -> None:
        rewinds = self.trainer.rewinds
        self.recorder.say(
            f"{problem}: going back to update {state['step']}, with {RATE_FACTOR**rewinds:g} times the learning rate "
            f"({rewinds} of at most {MOST_REWINDS} times)"
        )
        self.changes.restore()
        self._forget_missing_best(state)
        self.time_left = TimeLeft(self.trainer)
        self.was_mildly_augmented = self.trainer.is_mildly_augmented
        self._save_last()
        self.recorder.rewind(self.trainer.images)

    def metrics(self, images: int, values: dict[str, float]) -> None:
        dynamic = {f"hp.{name}": part() for name, part in self.experiment.dynamic.items()}  # named as labml does
        self.recorder.metrics(images, values | dynamic)
        self.bar.describe(messages.progress(self.trainer, values))

    def stepped(self, trainer: Trainer) -> None:
        total = trainer.total_steps
        self.changes.after_update()
        if trainer.total_steps != total:
            self.recorder.known(known_at_start(self.experiment))  # `runs` shows how long the run is to be
        if trainer.is_mildly_augmented != self.was_mildly_augmented:
            self.recorder.say(messages.augmentation_changed(trainer))
            self.was_mildly_augmented = trainer.is_mildly_augmented
        self.bar.update(trainer.step, trainer.total_steps)
        line = self.estimate.after(trainer.step)
        if line:
            self.recorder.say(line)

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        self._record_layers()
        validated = {name: value for name, value in values.items() if name.endswith(".valid")}
        if validated:
            self.recorder.metrics(trainer.images, validated)
        self.recorder.say(messages.epoch_line(trainer, values, self.time_left.after_epoch()))
        accuracy = values.get("accuracy.valid", -1.0)
        if accuracy > trainer.best_accuracy:
            trainer.best_accuracy = accuracy
            checkpoints.save(self.checkpoints.best, self._state())
        self._save_last()

    def _record_layers(self) -> None:
        """Record each layer's norms and histograms, if `metrics` asks for them.

        Results come after them: the dashboard's list looks for these in the last lines of the log.
        """
        if self.layers.is_wanted:
            measured = self.layers.measure()
            if measured.norms:
                self.recorder.metrics(self.trainer.images, measured.norms)
            self.recorder.histograms(self.trainer.images, measured.histograms)

    def should_stop(self) -> bool:
        return self.stop.is_agreed(self.experiment.workers)

    def checkpoint_is_due(self) -> bool:
        return bool(self.experiment.workers.all_reduce_max(int(self.checkpoints.is_due())))

    def checkpoint(self, trainer: Trainer) -> None:
        self._save_last()

    def _save_last(self) -> None:
        self.checkpoints.save_last(self._state())

    def _state(self) -> dict[str, Any]:
        state = self.trainer.state_dict()
        state |= {"data": self.experiment.describe_data(), "total_steps": self.trainer.total_steps}
        state |= {"kernels": self.experiment.kernels.name, "threads": _threads(self.trainer.device)}
        return state | {"batch_size": self.trainer.train.batch_size, "log_bytes": self.recorder.sync()}


def _threads(device: torch.device) -> int | None:
    """Return the number of threads that sums are split over, which decides their last bits; None on a GPU."""
    return torch.get_num_threads() if device.type == "cpu" else None
