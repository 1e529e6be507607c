"""A run while it trains: what the trainer tells is recorded, checkpoints are kept, and gone back to."""

from typing import Any

from convmixer.configs import Configs
from convmixer.experiment import messages as report
from convmixer.experiment.progress import Estimate, ProgressBar
from convmixer.experiment.resuming import Restored, describe_data
from convmixer.tracking import app_writer
from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints
from convmixer.training.divergence import MOST_REWINDS, RATE_FACTOR, Diverged, check_may_go_back
from convmixer.training.run_checkpoints import RunCheckpoints
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer


class RecordedTraining:
    """One run while it trains: passes what the trainer tells on to the recorder, and keeps checkpoints."""

    def __init__(self, conf: Configs, run: Run, recorder: Recorder, stop: StopRequest, restored: Restored) -> None:
        self.conf = conf
        self.run = run
        self.recorder = recorder
        self.stop = stop
        self.restored = restored
        self.trainer: Trainer = conf.trainer
        folder = run.checkpoint("last").parent
        folder.mkdir(exist_ok=True)
        minutes = conf.checkpoint.minutes
        self.checkpoints = RunCheckpoints(folder, self.trainer.steps_per_epoch, minutes, restored.state)

    def start(self) -> None:
        """Begin, or go on from where the run was."""
        state = self.restored.state
        self.conf.workers.hear_first((self.run.uuid, state))
        if state:
            self._load(state)
            self.trainer.total_steps = state["total_steps"]
        self.recorder.start(self.trainer.images)
        for line in report.header(self.conf, self.run, self.trainer):
            self.recorder.say(line)
        if self.restored.note:
            self.recorder.say(self.restored.note)
        if state:
            self._compare_kernels(state.get("kernels", "torch"))
            state.clear()  # as large as all that the trainer holds
        elif self.conf.on_nan == "rewind":
            self._save_last()  # to have something to go back to in the first epoch
        if self.conf.tracking.app_url:
            app_writer.follow(self.run, self.conf.tracking.app_url)

    def _load(self, state: dict[str, Any]) -> None:
        self.trainer.load_state_dict(state)
        if not self.checkpoints.has_best_of(state):
            self.trainer.best_accuracy = -1.0  # the next epoch's end makes a new one

    def _compare_kernels(self, then: str) -> None:
        now = self.conf.kernels_in_use.name
        if now != then:
            self.recorder.say(f"kernels were {then} before, now {now}: bits may differ from an unbroken run's")

    def fit(self) -> None:
        """Train what is left."""
        shown = not self.recorder.quiet
        total = self.trainer.total_steps
        is_new = self.trainer.step == 0 and self.conf.workers.is_alone
        self.estimate = Estimate(self.trainer.step, total, may_be_shorter=is_new and self.conf.minutes is None)
        with ProgressBar(total, self.trainer.step, shown) as self.bar:
            while self.trainer.step < total:
                try:
                    self.trainer.fit(self)
                except Diverged as problem:
                    self._go_back(problem)

    def _go_back(self, problem: Diverged) -> None:
        """Go on from the newest end of an epoch with a smaller learning rate, or raise the problem again."""
        workers, rewinds = self.conf.workers, self.trainer.rewinds + 1
        check_may_go_back(problem, self.conf.on_nan, rewinds)
        state = workers.hear_first(self.checkpoints.newest_of_an_epoch_end())
        if state is None:
            raise Diverged(f"{problem}, and no checkpoint of an epoch's end is whole") from None
        self.recorder.say(
            f"{problem}: going back to update {state['step']}, with {RATE_FACTOR**rewinds:g} of the learning rate "
            f"(time {rewinds} of at most {MOST_REWINDS})"
        )
        self._load(state)
        self.trainer.rewinds = rewinds
        self._save_last()
        self.recorder.go_back(self.trainer.images)

    def metrics(self, images: int, values: dict[str, float]) -> None:
        self.recorder.metrics(images, values)
        self.bar.describe(report.progress(self.trainer, values))

    def stepped(self, trainer: Trainer) -> None:
        self.bar.update(trainer.step)
        line = self.estimate.after(trainer.step)
        if line:
            self.recorder.say(line)

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        validated = {name: value for name, value in values.items() if name.endswith(".valid")}
        if validated:
            self.recorder.metrics(trainer.images, validated)
        self.recorder.say(report.epoch_line(trainer, values))
        accuracy = values.get("accuracy.valid", -1.0)
        if accuracy > trainer.best_accuracy:
            trainer.best_accuracy = accuracy
            checkpoints.save(self.checkpoints.best, self._state())
        self._save_last()

    def should_stop(self) -> bool:
        self.stop.signal = self.conf.workers.agree(self.stop.signal)
        return self.stop.signal is not None

    def checkpoint_is_due(self) -> bool:
        return bool(self.conf.workers.agree(int(self.checkpoints.is_due())))

    def checkpoint(self, trainer: Trainer) -> None:
        self._save_last()

    def _save_last(self) -> None:
        self.checkpoints.save_last(self._state())

    def _state(self) -> dict[str, Any]:
        state = self.trainer.state_dict()
        state |= {"data": describe_data(self.conf), "total_steps": self.trainer.total_steps}
        return state | {"kernels": self.conf.kernels_in_use.name, "batch_size": self.trainer.train.batch_size}
