"""What a run ended with: `summary.json`."""

import platform
import time
from importlib.metadata import version
from typing import Any

from convmixer.configs import Configs
from convmixer.experiment import messages as report
from convmixer.keys import keys_of
from convmixer.tracking.recorder import Recorder
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints
from convmixer.training.evaluation import evaluate
from convmixer.training.hardware import describe_device
from convmixer.wiring import plain_batches


def summarise(conf: Configs, run: Run, recorder: Recorder) -> dict[str, Any]:
    """Test the final weights, once, and write and show how the run ended."""
    trainer = conf.trainer
    weights, state = _final_state(conf, run, recorder)
    conf.model.load_state_dict(state["model"])
    accuracies = {}
    splits = {"valid": conf.valid_split, "test": conf.data.dataset.test}
    for name, split in splits.items():
        if len(split.labels):
            batches = plain_batches(conf, conf.data.dataset, split, trainer.device)
            loss, accuracy = evaluate(conf.model, batches, trainer.autocast())
            accuracies |= {f"accuracy.{name}": accuracy, f"loss.{name}": loss}
    summary = {
        "run": run.uuid,
        "name": run.info["name"],
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
        "configs": plain_configs(conf, run),
        "versions": versions(),
        "git": {"commit": run.info["commit"], "dirty": run.info["is_dirty"]},
    }
    report.save_curves(run)
    recorder.summary(summary)  # after all else: a run that has one has ended
    for line in report.result(summary, run):
        recorder.say(line)
    return summary


def _final_state(conf: Configs, run: Run, recorder: Recorder) -> tuple[str, dict[str, Any]]:
    """The checkpoint that is tested, by its name. One damaged since it was made must not be the end of the run."""
    name = final_weights(conf)
    try:
        return name, checkpoints.load(run.checkpoint(name))
    except checkpoints.Damaged as damage:
        if name == "last":
            raise
        recorder.say(f"{damage}: the last weights are tested in its place")
        return "last", checkpoints.load(run.checkpoint("last"))


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
