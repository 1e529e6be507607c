"""A run from its configs to its summary: what the commands `train` and `resume` and labml's `conf.run()` do."""

import errno
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labml import experiment, lab
from labml.internal.experiment import experiment_singleton

from convmixer.configs import Configs, plain_batches
from convmixer.consistency import check_consistency
from convmixer.errors import Interrupted, TrainingFault, UserError
from convmixer.evaluation import evaluate
from convmixer.exchange.pretrained import begin_from_pretrained
from convmixer.keys import keys_of
from convmixer.tracking import app_writer, labml_fixes, report
from convmixer.tracking.app_server import complete_url
from convmixer.tracking.progress import Estimate, ProgressBar
from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import Run, logs_folder, project_folder
from convmixer.training import checkpoints, memory, torchrun
from convmixer.training.distributed import is_loss_of_a_worker
from convmixer.training.divergence import MOST_REWINDS, RATE_FACTOR, Diverged, check_may_go_back
from convmixer.training.hardware import describe_device, keep_freed_memory
from convmixer.training.run_checkpoints import RunCheckpoints
from convmixer.training.stopping import StopRequest
from convmixer.training.timing import steps_in
from convmixer.training.trainer import Trainer


def script() -> Path:
    """The script that the user started, and that is started again for further processes."""
    return Path(sys.argv[0]).resolve()


def use_project_folder() -> None:
    """Have labml keep `logs/` and `data/` where the commands look for them."""
    labml_fixes.apply()
    lab.configure({"path": str(project_folder()), "experiments_path": str(logs_folder())})


def prepare(conf: Configs, old: Run | None = None) -> None:
    """Build and check all parts of `conf`, so that nothing is found wrong once the run has its folder.

    Args:
        old: the run that is gone on with; its own checkpoint is what it begins from, where it has made one.

    Raises:
        UserError: data that can't be had, or values that don't go together.
    """
    keep_freed_memory()
    check_consistency(conf)
    if conf.tracking.app_url:
        complete_url(conf.tracking.app_url)
    if conf.pretrained and not (old and old.checkpoint("last").exists()):
        conf.begins_from = begin_from_pretrained(conf)
    trainer = _built_trainer(conf)
    for group in {key.partition(".")[0] for key in keys_of(type(conf)) if "." in key}:
        getattr(conf, group)  # labml writes the keys of a group down only once it is made
    if conf.minutes is not None and conf._values["steps"] is None:
        try:
            trainer.total_steps = conf.steps = steps_in(trainer, conf.minutes * 60)
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            raise UserError(memory.advice(trainer, error)) from None


def _built_trainer(conf: Configs) -> Trainer:
    try:
        return conf.trainer
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200]
        stays = conf.residence_in_use is None or not conf.residence_in_use.is_resident
        remedy = "give a smaller network" if stays else "data.resident=false leaves the images on disk"
        raise UserError(f"out of memory before the first update: {remedy} ({said})") from None


def begin(conf: Configs, quiet: bool = False, old: Run | None = None) -> dict[str, Any]:
    """Train prepared configs as a new run, or go on with an `old` one. Returns the summary.

    Raises:
        TrainingFault: training had begun and could not go on.
        Interrupted: a signal stopped it.
    """
    _check_writable(logs_folder())
    recorder = Recorder(old.folder, quiet) if old else None
    restored = restore(conf, old) if old else None
    experiment.create(
        uuid=old.uuid if old else None,
        name=old.info["name"] if old else conf.name or f"{conf.data.dataset.name}-{conf.recipe}",
        comment=conf.comment or "",
        python_file=str(script()),
        tags=set(old.info["tags"]) if old else _tags(conf),
        writers=set(),
    )
    experiment.configs(conf)
    if old:
        _continue_labml_run(old)
    stop = StopRequest(is_patient=torchrun.is_launched())
    with in_one_line(conf, stop, partial(_how_to_go_on, conf)), stop, experiment.start():
        return train(conf, stop, quiet, recorder, restored)


@contextmanager
def in_one_line(conf: Configs, stop: StopRequest, how_to_go_on: Callable[[Exception | None], str]) -> Iterator[None]:
    """What ends a training early becomes an error with one line that says why, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {how_to_go_on(None)}", stop.signal or signal.SIGINT) from None
    except Exception as error:
        reason = _reason(error, conf.trainer)
        if reason is None:
            raise  # a mistake in code, the user's own layer perhaps: its traceback says where
        raise TrainingFault(f"{reason}; {how_to_go_on(error)}") from error


@dataclass(frozen=True)
class Restored:
    """What a run goes on from: the state of a checkpoint, where one was made, and what there is to say of it."""

    state: dict[str, Any] | None = None
    note: str | None = None


def restore(conf: Configs, old: Run) -> Restored:
    """Find the checkpoint that a run goes on from, before anything of the run is touched.

    Raises:
        UserError: the run has ended, none of its checkpoints is good, or the data are not those it was trained on.
    """
    if old.summary:
        raise UserError(f"run {old.uuid[:8]} has ended: `evaluate {old.uuid[:8]}` tests it again")
    state, note = checkpoints.newest_good(old.checkpoint("last").parent)
    if state:
        _check_same_data(describe_data(conf), state["data"])
        _check_same_batch(conf.trainer.train.batch_size, state.get("batch_size"))
    return Restored(state, note)


def _tags(conf: Configs) -> set[str]:
    """The data, the recipe, and the sweep or the torchrun job that the run is a part of."""
    study = os.environ.get("CONVMIXER_STUDY")
    sweep = {f"sweep:{study}"} if study else set()
    return {conf.data.dataset.name, conf.recipe} | sweep | torchrun_tags()


def torchrun_tags() -> set[str]:
    """By which restarted workers find their run again."""
    return {f"job:{torchrun.job()}"} if torchrun.is_launched() else set()


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"{folder}: can't be written; experiments_path in .labml.yaml can name another folder")


def _continue_labml_run(old: Run) -> None:
    run = experiment_singleton().run
    run.trial_date, run.trial_time = old.info["trial_date"], old.info["trial_time"]
    run.pid_path.unlink(missing_ok=True)  # labml refuses a run that has one


def _reason(error: Exception, trainer: Trainer) -> str | None:
    """What happened, in one line, where it is something that happens to right programs."""
    text = " ".join(str(error).split())
    if memory.is_out_of_memory(error):
        return memory.advice(trainer, error)
    if is_loss_of_a_worker(error):
        return "another worker ended, or did not answer"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or project_folder()})"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) or text.startswith("CUDA error"):
        return text[:300]
    return text if isinstance(error, TrainingFault) else None


def _how_to_go_on(conf: Configs, error: Exception | None) -> str:
    folder = Path(experiment_singleton().run.run_path)
    resume = f"{torchrun.launcher()} {script().name} resume {folder.name}"
    if isinstance(error, Diverged):
        if conf.on_nan == "rewind":
            return "begin anew with a smaller optimizer.learning_rate"
        return f"go back and halve the learning rate with: {resume} on_nan=rewind"
    if Run(folder).checkpoint("last").exists():
        return f"go on from the last checkpoint with: {resume}"
    return f"no checkpoint was made yet (run {folder.name})"


def train(
    conf: Configs,
    stop: StopRequest | None = None,
    quiet: bool = False,
    recorder: Recorder | None = None,
    restored: Restored | None = None,
) -> dict[str, Any]:
    """Train, test and summarise within a started labml experiment."""
    if stop is None:
        with StopRequest() as stop:
            prepare(conf)
            return train(conf, stop, quiet)
    run = Run(Path(experiment_singleton().run.run_path))
    session = Session(conf, run, recorder or Recorder(run.folder, quiet), stop, restored or Restored())
    session.start()
    session.fit()
    conf.workers.leave()
    return session.summarise()


class Session:
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
        self.estimate = Estimate(self.trainer.step, total)
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

    def summarise(self) -> dict[str, Any]:
        """Test the final weights, once, and write and show how the run ended."""
        conf, trainer = self.conf, self.trainer
        weights, state = self._final_weights()
        conf.model.load_state_dict(state["model"])
        accuracies = {}
        splits = {"valid": conf.valid_split, "test": conf.data.dataset.test}
        for name, split in splits.items():
            if len(split.labels):
                batches = plain_batches(conf, conf.data.dataset, split, trainer.device)
                loss, accuracy = evaluate(conf.model, batches, trainer.autocast())
                accuracies |= {f"accuracy.{name}": accuracy, f"loss.{name}": loss}
        summary = {
            "run": self.run.uuid,
            "name": self.run.info["name"],
            "data": conf.data.dataset.name,
            "recipe": conf.recipe,
            **accuracies,
            "weights": weights,
            "epochs": trainer.step / trainer.steps_per_epoch,
            "steps": trainer.step,
            "images": trainer.images,
            "rewinds": trainer.rewinds,
            "test_images": len(conf.data.dataset.test.labels),
            "seconds": trainer.seconds,
            "warm_up_seconds": trainer.warm_up_seconds,
            "images_per_second": trainer.images / trainer.seconds,
            "parameters": sum(p.numel() for p in conf.model.parameters()),
            "device": describe_device(trainer.device),
            "workers": trainer.workers.count,
            "precision": str(trainer.precision).removeprefix("torch."),
            "kernels": conf.kernels_in_use.name,
            "ended": time.strftime("%Y-%m-%d %H:%M:%S"),
            "configs": plain_configs(conf, self.run),
            "versions": versions(),
            "git": {"commit": self.run.info["commit"], "dirty": self.run.info["is_dirty"]},
        }
        report.save_curves(self.run)
        self.recorder.summary(summary)  # after all else: a run that has one has ended
        for line in report.result(summary, self.run):
            self.recorder.say(line)
        return summary

    def _final_weights(self) -> tuple[str, dict[str, Any]]:
        """The checkpoint that is tested, by its name. One damaged since it was made must not be the end of the run."""
        name = final_weights(self.conf)
        try:
            return name, checkpoints.load(self.run.checkpoint(name))
        except checkpoints.Damaged as damage:
            if name == "last":
                raise
            self.recorder.say(f"{damage}: the last weights are tested in its place")
            return "last", checkpoints.load(self.checkpoints.last)


def plain_configs(conf: Configs, run: Run) -> dict[str, Any]:
    """Every key's value, without the objects that labml also lists."""
    return {name: run.configs[name] for name in keys_of(type(conf))}


def final_weights(conf: Configs) -> str:
    """The checkpoint that is tested: what `final_weights` says; without a validation split `best` is `last`."""
    return conf.final_weights if conf.data.validation else "last"


def versions() -> dict[str, str]:
    """Of Python and the packages that numbers depend on."""
    names = ("torch", "numpy", "labml")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def describe_data(conf: Configs) -> dict[str, Any]:
    """What a run must find again of the images that it was trained on."""
    dataset = conf.data.dataset
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "train_images": conf.trainer.train.n_images,
        "image_shape": list(dataset.train.images.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }


def _check_same_data(now: dict[str, Any], then: dict[str, Any]) -> None:
    differing = [key for key in then if now[key] != then[key]]
    if differing:
        key = differing[0]
        raise UserError(f"data: this run was trained on other images: {key} was {then[key]}, now {now[key]}")


def _check_same_batch(now: int, then: int | None) -> None:
    if then not in (None, now):
        raise UserError(
            f"command line: an update of this run is {then} images, but would be {now} with this number of workers, "
            f"as batch_per_worker is true"
        )
