"""The lines that a run prints: a header, one line for each epoch, and the results."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from convmixer.console import as_arguments, counted, duration
from convmixer.dashboard.address import running_url
from convmixer.experiment.experiment import Experiment
from convmixer.files.atomic import written_whole
from convmixer.project import command, is_our_own_start
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.run_folder import CURVES
from convmixer.tracking.runs import Run
from convmixer.training.hardware import describe_device
from convmixer.training.trainer import Trainer


def header(experiment: Experiment, run: Run) -> list[str]:
    """Return the lines at the start of a run: the data, the network, the device and the folder."""
    data, trainer, values = experiment.dataset, experiment.trainer, experiment.values
    height, width = data.train.images.shape[1:3]
    sizes = f"{len(experiment.train_split.labels):,} train, {len(experiment.valid_split.labels):,} valid"
    parameters = sum(p.numel() for p in experiment.model.parameters())
    why = "" if "recipe" in experiment.given else f" (the default, as {_why(trainer.device.type)})"
    residence = experiment.residence
    return [
        *_banner(data.fallback),
        f"run     {run.uuid[:8]} in {run.folder}",
        *_script(experiment, run),
        *_continues(trainer),
        f"data    {data.name}: {sizes}, {len(data.test.labels):,} test images "
        f"of {height}x{width} in {len(data.classes)} classes",
        f"recipe  {values['recipe']}{why}: {_length(values, trainer)}, "
        f"{counted(trainer.train.batch_size, 'image')} a batch",
        f"model   {type(experiment.model).__name__} {values['d_model']}/{values['n_layers']}, "
        f"kernel {values['kernel_size']}, patch {values['patch_size']}: {parameters:,} parameters",
        *([f"begins  {experiment.initial_weights}"] if experiment.initial_weights else []),
        f"device  {describe_device(trainer.device)}, {str(trainer.precision).removeprefix('torch.')}",
        f"kernels {': '.join(filter(None, experiment.kernels))}",
        *([] if residence.is_resident else [f"images  read from disk: {residence.reason}"]),
        *_workers(experiment),
        *_options(trainer),
        *_augmentation(trainer),
        *_watch(run),
        *([f"also    {', '.join(values['tracking.also'])}"] if values["tracking.also"] else []),
    ]


def _script(experiment: Experiment, run: Run) -> list[str]:
    """Name the user's own script, if one was started, and what only it can give."""
    script = Path(run.info["python_file"]).name
    if is_our_own_start(script) and not experiment.own:
        return []
    own = as_arguments(experiment.own)
    return [f"script  {script}" + (f": {own}" if own else "")]


def _continues(trainer: Trainer) -> list[str]:
    """Say where a resumed run continues."""
    if trainer.step == 0:
        return []
    done, total = trainer.step / trainer.steps_per_epoch, trainer.total_steps / trainer.steps_per_epoch
    return [
        f"resumes after update {trainer.step:,} of {trainer.total_steps:,}, epoch {done:.4g} of {total:.4g}, "
        f"and {duration(trainer.seconds)} of training"
    ]


def _workers(experiment: Experiment) -> list[str]:
    """Describe the processes that train together, if there are several, and what that changes."""
    workers, trainer = experiment.workers, experiment.trainer
    if workers.is_alone:
        return []
    statistics = "each worker's images" if trainer.share_statistics else "the images of all workers"
    text = f"workers {workers.world_size} share each batch, BatchNorm uses {statistics}"
    if experiment.values["batch_per_worker"]:
        text += f", learning rate and batch are {workers.world_size} times as large"
    return [text]


def _options(trainer: Trainer) -> list[str]:
    """Describe the options that change the meaning of the results."""
    lines = []
    if trainer.average:
        lines += [f"weights a moving average, decay {trainer.average.decay:g}, is validated, tested and saved"]
    if trainer.micro_batch_size:
        at_once = counted(trainer.micro_batch_size, "image")
        lines += [f"parts   {at_once} of a batch at a time{_batch_norm_note(trainer.model)}"]
    return lines


def _augmentation(trainer: Trainer) -> list[str]:
    """Say from when on a part of the augmentation is off, if it is."""
    until, augmentation = trainer.full_augmentation_until(), trainer.train.augmentation
    if until is None or until >= trainer.total_steps:
        return []
    off = ", ".join(augmentation.turned_off)
    return [f"augment without {off} from update {until:,} of {trainer.total_steps:,} on"]


def augmentation_changed(trainer: Trainer) -> str:
    """Return the line that is printed after the first update for which `augment.off_for` turned something off or on."""
    augmentation = trainer.train.augmentation
    what = f"{'without' if trainer.is_mildly_augmented else 'with'} {', '.join(augmentation.turned_off)}"
    return f"from update {trainer.step - 1} on: {what} (augment.off_for={augmentation.off_for:g})"


def _batch_norm_note(model: nn.Module) -> str:
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return ": the same updates within rounding"
    return ": each part has its own BatchNorm statistics, so updates differ from those of whole batches"


def _watch(run: Run) -> list[str]:
    """Say where the dashboard shows the run, or how to start the dashboard."""
    url = running_url(run.folder.parent.parent, run.uuid)
    return [f"watch   {url or f'{command()} dashboard'}"]


def _banner(text: str | None) -> list[str]:
    if text is None:
        return []
    edge = "!" * 100
    return ["", edge, *text.splitlines(), edge, ""]


def _why(device: str) -> str:
    return "it trains on the CPU" if device == "cpu" else f"it trains on a GPU ({device})"


def _length(values: Mapping[str, Any], trainer: Trainer) -> str:
    epochs = trainer.total_steps / trainer.steps_per_epoch
    if values["minutes"] is not None:
        updates, minutes = counted(trainer.total_steps, "update"), counted(values["minutes"], "minute")
        return f"{updates} ({counted(epochs, 'epoch')}) in {minutes}"
    return counted(epochs, "epoch") if values["steps"] is None else counted(values["steps"], "update")


def progress(trainer: Trainer, values: dict[str, float]) -> str:
    """Return the text beside the progress bar."""
    epochs = math.ceil(trainer.total_steps / trainer.steps_per_epoch)
    rate = f"{values['time.images_per_second']:,.0f} images/s"
    accuracy = f"accuracy {values['accuracy.train']:.1%}"
    return f"epoch {min(trainer.epoch + 1, epochs)}/{epochs}  loss {values['loss.train']:.3f}  {accuracy}  {rate}"


def epoch_line(trainer: Trainer, values: dict[str, float], seconds_left: float) -> str:
    """Return the line that is printed after an epoch."""
    epochs = trainer.total_steps / trainer.steps_per_epoch
    text = f"epoch {trainer.step / trainer.steps_per_epoch:4.4g}/{epochs:.4g}"
    text += f"  train: loss {values['loss.train']:.3f}, {values['accuracy.train']:6.2%}"
    if "loss.valid" in values:
        text += f"  valid: loss {values['loss.valid']:.3f}, {values['accuracy.valid']:6.2%}"
    text += f"  {values['time.images_per_second']:,.0f} images/s"
    return text if trainer.step == trainer.total_steps else f"{text}  {duration(seconds_left)} left"


def result(summary: dict[str, Any], run: Run) -> list[str]:
    """Return the table at the end of a run, with the commands that use it."""
    test = f"{summary['accuracy.test']:.2%} of {counted(summary['test_images'], 'image')} of {summary['data']}"
    rows = [("test accuracy", f"{test}, {summary['weights']} weights")]
    if "accuracy.valid" in summary:
        rows += [("valid accuracy", f"{summary['accuracy.valid']:.2%}")]
    rate = f"{summary['images_per_second']:,.0f} images/s"
    warm_up = (
        f"{summary['warm_up_seconds']:.2f} s: the first update, in the training time; on a GPU or compiled, before it"
    )
    start = command()
    rows += [
        ("training time", f"{_training_time(summary)}, {rate}, {counted(summary['epochs'], 'epoch')}"),
        ("warm-up", warm_up),
        ("parameters", f"{summary['parameters']:,}"),
        ("run", f"{run.uuid} ({run.folder})"),
        ("curves", str(run.folder / CURVES)),
        ("next:", f"{start} evaluate {run.uuid[:8]}"),
        ("", f"{start} predict {run.uuid[:8]} IMAGE"),
        ("", f"{start} dashboard"),
    ]
    return ["", *(f"{name:<16}{value}" for name, value in rows)]


def _training_time(summary: dict[str, Any]) -> str:
    """Say how long the training took, and with `minutes` how long it was to take: another process may slow it down."""
    taken, minutes = duration(summary["seconds"]), summary["configs"]["minutes"]
    return taken if minutes is None else f"{taken} (minutes={minutes:g})"


def save_curves(run: Run, summary: Mapping[str, Any]) -> None:
    """Save the learning curves, with the results of the summary, as a picture in the run's folder."""
    with written_whole(run.folder / CURVES, "wb") as file:
        learning_curves([run], [summary]).savefig(file, format="png", dpi=110)
