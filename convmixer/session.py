"""A run from its configs to its summary: what the commands `train` and `resume` and labml's `conf.run()` do."""

import errno
import os
import platform
import signal
import sys
import time
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
from convmixer.training import checkpoints, memory
from convmixer.training.hardware import describe_device, keep_freed_memory
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
    stop = StopRequest()
    try:
        with stop, experiment.start():
            return train(conf, stop, quiet, recorder)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {_how_to_resume()}", stop.signal or signal.SIGINT) from None
    except Exception as error:
        reason = _reason(error, conf.trainer)
        if reason is None:
            raise  # a mistake in code, the user's own layer perhaps: its traceback says where
        raise TrainingFault(f"{reason}; {_how_to_resume()}") from error


def _tags(conf: Configs) -> set[str]:
    """The data, the recipe, and the sweep that the run is a part of."""
    study = os.environ.get("CONVMIXER_STUDY")
    return {conf.data.dataset.name, conf.recipe, *([f"sweep:{study}"] if study else [])}


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
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or project_folder()})"
    if isinstance(error, OSError) or text.startswith("CUDA error"):
        return text[:300]
    return text if isinstance(error, TrainingFault) else None


def _how_to_resume() -> str:
    folder = Path(experiment_singleton().run.run_path)
    if Run(folder).checkpoint("last").exists():
        return f"go on from the last checkpoint with: python {script().name} resume {folder.name}"
    return f"no checkpoint was made yet (run {folder.name})"


def train(
    conf: Configs,
    stop: StopRequest | None = None,
    quiet: bool = False,
    recorder: Recorder | None = None,
) -> dict[str, Any]:
    """Train, test and summarise within a started labml experiment."""
    if stop is None:
        with StopRequest() as stop:
            prepare(conf)
            return train(conf, stop, quiet)
    run = Run(Path(experiment_singleton().run.run_path))
    session = Session(conf, run, recorder or Recorder(run.folder, quiet), stop)
    session.restore()
    session.fit()
    return session.summarise()


class Session:
    """One run while it trains: passes what the trainer tells on to the recorder, and keeps checkpoints."""

    def __init__(self, conf: Configs, run: Run, recorder: Recorder, stop: StopRequest) -> None:
        self.conf = conf
        self.run = run
        self.recorder = recorder
        self.stop = stop
        self.trainer: Trainer = conf.trainer
        self.run.checkpoint("last").parent.mkdir(exist_ok=True)

    def restore(self) -> None:
        """Go on from the last checkpoint, where there is one."""
        last = self.run.checkpoint("last")
        if last.exists():
            state = checkpoints.load(last)
            _check_same_data(self._data(), state["data"])
            self.trainer.load_state_dict(state)
            self.trainer.total_steps = state["total_steps"]
        self.recorder.start(self.trainer.images)
        for line in report.header(self.conf, self.run, self.trainer):
            self.recorder.say(line)
        if last.exists():
            self._compare_kernels(state.get("kernels", "torch"))
        if self.conf.tracking.app_url:
            app_writer.follow(self.run, self.conf.tracking.app_url)

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
            self.trainer.fit(self)

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
            self._save("best")
        self._save("last")

    def should_stop(self) -> bool:
        return self.stop.signal is not None

    def stopping(self, trainer: Trainer) -> None:
        self._save("last")

    def _save(self, name: str) -> None:
        state = self.trainer.state_dict()
        state |= {"data": self._data(), "total_steps": self.trainer.total_steps}
        state |= {"kernels": self.conf.kernels_in_use.name}
        checkpoints.save(self.run.checkpoint(name), state)

    def _data(self) -> dict[str, Any]:
        dataset = self.conf.data.dataset
        return {
            "name": dataset.name,
            "classes": list(dataset.classes),
            "train_images": self.trainer.train.n_images,
            "image_shape": list(dataset.train.images.shape[1:]),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
        }

    def summarise(self) -> dict[str, Any]:
        """Test the final weights, once, and write and show how the run ended."""
        conf, trainer = self.conf, self.trainer
        weights = final_weights(conf)
        conf.model.load_state_dict(checkpoints.load(self.run.checkpoint(weights))["model"])
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
            "test_images": len(conf.data.dataset.test.labels),
            "seconds": trainer.seconds,
            "warm_up_seconds": trainer.warm_up_seconds,
            "images_per_second": trainer.images / trainer.seconds,
            "parameters": sum(p.numel() for p in conf.model.parameters()),
            "device": describe_device(trainer.device),
            "precision": str(trainer.precision).removeprefix("torch."),
            "kernels": conf.kernels_in_use.name,
            "ended": time.strftime("%Y-%m-%d %H:%M:%S"),
            "configs": plain_configs(conf, self.run),
            "versions": versions(),
            "git": {"commit": self.run.info["commit"], "dirty": self.run.info["is_dirty"]},
        }
        self.recorder.summary(summary)
        report.save_curves(self.run)
        for line in report.result(summary, self.run):
            self.recorder.say(line)
        return summary


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


def _check_same_data(now: dict[str, Any], then: dict[str, Any]) -> None:
    differing = [key for key in then if now[key] != then[key]]
    if differing:
        key = differing[0]
        raise UserError(f"data: this run was trained on other images: {key} was {then[key]}, now {now[key]}")
