"""Runs an experiment from its built parts to its summary, for `train`, `resume` and labml's `conf.run()`."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from labml import experiment as labml_experiment
from labml.configs import BaseConfigs
from labml.internal.experiment import experiment_singleton

from convmixer.errors import UserError
from convmixer.experiment.experiment import Experiment
from convmixer.experiment.failures import in_one_line
from convmixer.experiment.recording import RecordedTraining
from convmixer.experiment.resuming import Checkpoint, find_checkpoint
from convmixer.experiment.summary import summarise
from convmixer.files.atomic import LONGEST_NAME, cut
from convmixer.project import command, logs_folder, script
from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import Run
from convmixer.tracking.trackers.processes import followed
from convmixer.training.distributed import torchrun
from convmixer.training.divergence import Diverged
from convmixer.training.stopping import StopRequest


def run_recorded(
    experiment: Experiment, labml_configs: BaseConfigs, quiet: bool = False, resumed: Run | None = None
) -> dict[str, Any]:
    """Train, record and test an experiment as a new run, or resume a run. Return the summary.

    Args:
        labml_configs: the object that labml writes to the run's configs.yaml.
        resumed: the run to resume; None: a new run.

    Raises:
        UserError: the logs folder can't be written, or the run can't be resumed.
        TrainingFault: training had begun and could not continue.
        Interrupted: a signal stopped the training.
    """
    _check_writable(logs_folder())
    recorder = Recorder(resumed.folder, quiet) if resumed else None
    checkpoint = find_checkpoint(experiment, resumed) if resumed else Checkpoint()
    values = experiment.values
    labml_experiment.create(
        uuid=resumed.uuid if resumed else None,
        name=resumed.info["name"] if resumed else values["name"] or _name(experiment),
        comment=values["comment"] or "",
        python_file=str(script()),
        tags=set(resumed.info["tags"]) if resumed else _tags(experiment),
        writers=set(),
    )
    labml_experiment.configs(labml_configs)
    if resumed:
        _continue_labml_run(resumed)
    stop = StopRequest(is_patient=torchrun.is_launched())
    how_to_resume = partial(_how_to_resume, values["on_nan"])
    with in_one_line(experiment.trainer, stop, how_to_resume), stop, labml_experiment.start():
        return train_and_test(experiment, stop, quiet, recorder, checkpoint)


def train_and_test(
    experiment: Experiment,
    stop: StopRequest,
    quiet: bool = False,
    recorder: Recorder | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """Train, test and summarise within a started labml experiment. Return the summary."""
    run = Run(Path(experiment_singleton().run.run_path))
    recorder = recorder or Recorder(run.folder, quiet)
    training = RecordedTraining(experiment, run, recorder, stop, checkpoint or Checkpoint())
    training.start()
    with followed(run, experiment.values["tracking.also"]):
        training.fit()
        experiment.workers.leave()
        return summarise(experiment, run, recorder)


def _name(experiment: Experiment) -> str:
    """The data and the recipe."""
    recipe = f"-{experiment.values['recipe']}"
    return cut(experiment.dataset.name, LONGEST_NAME - len(recipe)) + recipe


def _tags(experiment: Experiment) -> set[str]:
    """Return the run's tags: data, recipe, and the sweep, the series of seeds or the torchrun job it belongs to."""
    study, series = os.environ.get("CONVMIXER_STUDY"), os.environ.get("CONVMIXER_SERIES")
    sweep = {f"sweep:{study}"} if study else {f"seeds:{series}"} if series else set()
    job = {f"job:{torchrun.job()}"} if torchrun.is_launched() else set()  # restarted workers find their run by it
    return {experiment.dataset.name, experiment.values["recipe"]} | sweep | job


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"{folder}: can't be written; give another folder as experiments_path in .labml.yaml")


def _continue_labml_run(resumed: Run) -> None:
    run = experiment_singleton().run
    run.trial_date, run.trial_time = resumed.info["trial_date"], resumed.info["trial_time"]
    run.pid_path.unlink(missing_ok=True)  # labml refuses a run that has one


def _how_to_resume(on_nan: str, error: Exception | None) -> str:
    folder = Path(experiment_singleton().run.run_path)
    resume = f"{command(torchrun.launcher())} resume {folder.name}"
    if isinstance(error, Diverged):
        if on_nan == "rewind":
            return "train a new run with a smaller optimizer.learning_rate"
        return f"go back and halve the learning rate with: {resume} on_nan=rewind"
    if Run(folder).checkpoint("last").exists():
        return f"resume from the last checkpoint with: {resume}"
    return f"no checkpoint was saved yet; start this run from the beginning with: {resume}"
