"""Records what is known when a run starts, and keeps a copy of the user's own script."""

from pathlib import Path
from typing import Any

from convmixer.experiment.experiment import Experiment
from convmixer.files.atomic import write_atomically
from convmixer.files.untrusted import read_bytes
from convmixer.project import is_our_own_start
from convmixer.tracking.recorded_run import Run
from convmixer.tracking.run_folder import SCRIPT


def known_at_start(experiment: Experiment) -> dict[str, Any]:
    """Return what `start.json` holds: with it, `runs` says of a running run what it trains and how far it is."""
    trainer = experiment.trainer
    return {
        "data": experiment.dataset.name,
        "train_images": trainer.train.n_images,
        "steps_per_epoch": trainer.steps_per_epoch,
        "total_steps": trainer.total_steps,
        "own": dict(experiment.own),
    }


def keep_script(experiment: Experiment, run: Run) -> str | None:
    """Copy the script that the user started into the run's folder, once.

    Returns:
        A line that is printed if the script has changed since the run began.
    """
    script, copy = Path(run.info["python_file"]), run.folder / SCRIPT
    if (is_our_own_start(script.name) and not experiment.own) or not script.is_file():
        return None
    if not copy.exists():
        write_atomically(copy, read_bytes(script))
    elif read_bytes(copy) != read_bytes(script):
        return f"{script.name} has changed since this run began, with what is now {copy}"
    return None
