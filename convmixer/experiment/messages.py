"""The lines that a run prints: what it is at the start, one for each epoch, what came out."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from convmixer.console import duration
from convmixer.dashboard.address import running_url
from convmixer.experiment.experiment import Experiment
from convmixer.files.atomic import written_whole
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.run_folder import CURVES
from convmixer.tracking.runs import Run
from convmixer.training.hardware import describe_device
from convmixer.training.trainer import Trainer


def header(experiment: Experiment, run: Run) -> list[str]:
    """The lines that say what is about to be trained, and on what."""
    data, trainer, values = experiment.dataset, experiment.trainer, experiment.values
    height, width = data.train.images.shape[1:3]
    sizes = f"{len(experiment.train_split.labels):,} train, {len(experiment.valid_split.labels):,} valid"
    parameters = sum(p.numel() for p in experiment.model.parameters())
    why = "" if "recipe" in experiment.given else f" (none was given and {_why(trainer.device.type)})"
    residence = experiment.residence
    return [
        *_banner(data.fallback),
        f"run     {run.uuid[:8]} in {run.folder}",
        f"data    {data.name}: {sizes}, {len(data.test.labels):,} test images "
        f"of {height}x{width} in {len(data.classes)} classes",
        f"recipe  {values['recipe']}{why}: {_length(values, trainer)}, {trainer.train.batch_size} images a batch",
        f"model   {type(experiment.model).__name__} {values['d_model']}/{values['n_layers']}, "
        f"kernel {values['kernel_size']}, patch {values['patch_size']}: {parameters:,} parameters",
        *([f"begins  {experiment.initial_weights}"] if experiment.initial_weights else []),
        f"device  {describe_device(trainer.device)}, {str(trainer.precision).removeprefix('torch.')}",
        f"kernels {': '.join(filter(None, experiment.kernels))}",
        *([] if residence.is_resident else [f"images  stay on disk: {residence.reason}"]),
        *_workers(experiment),
        *_options(trainer),
        *_watch(run),
    ]


def _workers(experiment: Experiment) -> list[str]:
    """Several processes that train together, and what that changes."""
    workers, trainer = experiment.workers, experiment.trainer
    if workers.is_alone:
        return []
    statistics = "each worker's images" if trainer.share_statistics else "the images of all"
    text = f"workers {workers.world_size} on each batch, BatchNorm over {statistics}"
    if experiment.values["batch_per_worker"]:
        text += f", learning rate {workers.world_size} times as large, as the batch is"
    return [text]


def _options(trainer: Trainer) -> list[str]:
    """Options that a reader of the figures must know about."""
    lines = []
    if trainer.average:
        lines += [f"weights moving average, decay {trainer.average.decay:g}: validated, tested and kept"]
    if trainer.micro_batch_size:
        lines += [f"parts   {trainer.micro_batch_size} images of a batch at a time{_batch_norm_note(trainer.model)}"]
    return lines


def _batch_norm_note(model: nn.Module) -> str:
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return ": the same updates within rounding"
    return ": each has BatchNorm statistics of its own, so updates are not those of whole batches"


def _watch(run: Run) -> list[str]:
    """Where a dashboard on this machine shows the run."""
    url = running_url(run.folder.parent.parent, run.uuid)
    return [f"watch   {url}"] if url else []


def _banner(text: str | None) -> list[str]:
    if text is None:
        return []
    edge = "!" * 100
    return ["", edge, *text.splitlines(), edge, ""]


def _why(device: str) -> str:
    return "it trains on the CPU" if device == "cpu" else f"there is a GPU ({device})"


def _length(values: Mapping[str, Any], trainer: Trainer) -> str:
    epochs = trainer.total_steps / trainer.steps_per_epoch
    if values["minutes"] is not None:
        return f"{trainer.total_steps} updates ({epochs:.1f} epochs) in {values['minutes']:g} minutes"
    return f"{epochs:g} epochs" if values["steps"] is None else f"{values['steps']} updates"


def progress(trainer: Trainer, values: dict[str, float]) -> str:
    """The words beside the bar."""
    epochs = math.ceil(trainer.total_steps / trainer.steps_per_epoch)
    rate = f"{values['time.images_per_second']:,.0f} images/s"
    accuracy = f"accuracy {values['accuracy.train']:.1%}"
    return f"epoch {trainer.epoch + 1}/{epochs}  loss {values['loss.train']:.3f}  {accuracy}  {rate}"


def epoch_line(trainer: Trainer, values: dict[str, float]) -> str:
    """One line after an epoch."""
    epochs = trainer.total_steps / trainer.steps_per_epoch
    text = f"epoch {trainer.step / trainer.steps_per_epoch:4.4g}/{epochs:.4g}"
    text += f"  train: loss {values['loss.train']:.3f}, {values['accuracy.train']:6.2%}"
    if "loss.valid" in values:
        text += f"  valid: loss {values['loss.valid']:.3f}, {values['accuracy.valid']:6.2%}"
    left = trainer.seconds_left()
    return f"{text}  {values['time.images_per_second']:,.0f} images/s  {duration(left)} left"


def result(summary: dict[str, Any], run: Run) -> list[str]:
    """The table at the end."""
    test = f"{summary['accuracy.test']:.2%} of {summary['test_images']:,} images of {summary['data']}"
    rows = [("test accuracy", f"{test}, {summary['weights']} weights")]
    if "accuracy.valid" in summary:
        rows += [("valid accuracy", f"{summary['accuracy.valid']:.2%}")]
    rate = f"{summary['images_per_second']:,.0f} images/s"
    warm_up = (
        f"{summary['warm_up_seconds']:.1f} s: the first update, in that time; with compile=true or on a GPU before it"
    )
    rows += [
        ("training time", f"{duration(summary['seconds'])}, {rate}, {summary['epochs']:.4g} epochs"),
        ("warm-up", warm_up),
        ("parameters", f"{summary['parameters']:,}"),
        ("run", f"{run.uuid} ({run.folder})"),
        ("curves", str(run.folder / CURVES)),
    ]
    return ["", *(f"{name:<16}{value}" for name, value in rows)]


def save_curves(run: Run) -> None:
    """Learning curves as a picture in the run's folder."""
    with written_whole(run.folder / CURVES, "wb") as file:
        learning_curves([run]).savefig(file, format="png", dpi=110)
