"""A run from its configs to its summary: what the commands `train` and `resume` and labml's `conf.run()` do."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from labml import experiment, lab
from labml.internal.experiment import experiment_singleton

from convmixer.configs import Configs
from convmixer.consistency import check_consistency
from convmixer.errors import UserError
from convmixer.experiment.failures import in_one_line
from convmixer.experiment.recording import RecordedTraining
from convmixer.experiment.resuming import Restored, restore
from convmixer.experiment.summary import summarise
from convmixer.keys import keys_of
from convmixer.tracking import labml_fixes
from convmixer.tracking.app_server import complete_url
from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import Run, logs_folder, project_folder
from convmixer.trained.initial_weights import begin_from_pretrained
from convmixer.training import memory
from convmixer.training.distributed import torchrun
from convmixer.training.divergence import Diverged
from convmixer.training.hardware import keep_freed_memory
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
    recorder = recorder or Recorder(run.folder, quiet)
    training = RecordedTraining(conf, run, recorder, stop, restored or Restored())
    training.start()
    training.fit()
    conf.workers.leave()
    return summarise(conf, run, recorder)
