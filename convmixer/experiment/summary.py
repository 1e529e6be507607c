"""Ends a run: tests its final weights and writes `summary.json`."""

import time
from pathlib import Path
from typing import Any

from convmixer.experiment import messages
from convmixer.experiment.experiment import Experiment
from convmixer.experiment.live_changes import known_changes
from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints
from convmixer.training.evaluation import evaluate
from convmixer.training.hardware import describe_device, versions


def summarise(experiment: Experiment, run: Run, recorder: Recorder) -> dict[str, Any]:
    """Test the final weights once, write `summary.json`, print the results and return them."""
    trainer, dataset = experiment.trainer, experiment.dataset
    weights, state = _final_state(experiment, run, recorder)
    experiment.model.load_state_dict(state["model"])
    accuracies = {}
    for name, split in {"valid": experiment.valid_split, "test": dataset.test}.items():
        if len(split.labels):
            measured = evaluate(experiment.model, experiment.batches(split), trainer.autocast(), trainer.metrics)
            accuracies |= {f"{metric}.{name}": value for metric, value in measured.items()}
    summary = {
        "run": run.uuid,
        "name": run.info["name"],
        "data": dataset.name,
        "recipe": experiment.values["recipe"],
        "script": Path(run.info["python_file"]).name,
        "own": dict(experiment.own),
        **accuracies,
        "weights": weights,
        "epochs": trainer.step / trainer.steps_per_epoch,
        "steps": trainer.step,
        "images": trainer.images,
        "rewinds": trainer.rewinds,
        "test_images": len(dataset.test.labels),
        "seconds": trainer.seconds,
        "warm_up_seconds": trainer.warm_up_seconds,
        "images_per_second": trainer.images / trainer.seconds,
        "parameters": sum(p.numel() for p in experiment.model.parameters()),
        "device": describe_device(trainer.device),
        "workers": experiment.workers.world_size,
        "precision": str(trainer.precision).removeprefix("torch."),
        "kernels": experiment.kernels.name,
        "changes": [str(change) for change in known_changes(run.folder, None)],
        "ended": time.strftime("%Y-%m-%d %H:%M:%S"),
        "configs": {name: run.configs[name] for name in experiment.values},
        "versions": versions(),
        "git": {"commit": run.info["commit"], "dirty": run.info["is_dirty"]},
    }
    messages.save_curves(run, summary)
    recorder.summary(summary)  # last, as a run with a summary counts as ended
    for line in messages.result(summary, run):
        recorder.say(line)
    return summary


def _final_state(experiment: Experiment, run: Run, recorder: Recorder) -> tuple[str, dict[str, Any]]:
    """Return the name and state of the checkpoint to test: `final_weights`, or `last` without a validation split.

    If `best` is damaged, `last` is tested, so that the run can end.
    """
    name = experiment.values["final_weights"] if len(experiment.valid_split.labels) else "last"
    try:
        return name, checkpoints.load(run.checkpoint(name))
    except checkpoints.Damaged as damage:
        if name == "last":
            raise
        recorder.say(f"{damage}: testing the last weights instead")
        return "last", checkpoints.load(run.checkpoint("last"))
