"""The time that `metrics=[norms,histograms]` takes of a training: epochs with and without it, in turns.

    python -m benchmarks.layer_statistics data.dataset=cifar10 recipe=small --pairs 4

An epoch is trained, validated, and with it measured and written. Processor time depends less on what else the machine
does than seconds do.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from labml.internal.tracker import tracker_singleton

from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.configs.overrides import split_assignments
from convmixer.tracking.labml_fixes import use_project_folder
from convmixer.tracking.recorder import Recorder
from convmixer.training.layer_statistics import LAYER_METRICS, LayerStatistics, Measured
from convmixer.training.trainer import Trainer


class Timed(LayerStatistics):
    """Statistics of layers, which know the processor time that they took."""

    seconds = 0.0

    def measure(self) -> Measured:
        return self._timed(super().measure)

    def _note_gradients(self, *_: Any) -> None:
        self._timed(super()._note_gradients)

    def _timed(self, what: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = what()
        self.seconds += time.process_time() - started
        return result


class Epochs:
    """Trains one epoch at a time; an observer that measures what it is told to."""

    def __init__(self, trainer: Trainer, recorder: Recorder) -> None:
        self.trainer, self.recorder = trainer, recorder
        self.layers: Timed | None = None

    def train(self, metrics: list[str]) -> tuple[float, float]:
        """Train an epoch. Return its seconds and its processor time."""
        self.trainer.optimizer._optimizer_step_pre_hooks.clear()  # of the turn before
        self.layers = Timed(self.trainer, metrics, 500)
        self.trainer.total_steps = self.trainer.step + self.trainer.steps_per_epoch
        started, cpu = time.perf_counter(), time.process_time()
        self.trainer.fit(self)
        return time.perf_counter() - started, time.process_time() - cpu

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        self.recorder.metrics(trainer.images, {name: v for name, v in values.items() if name.endswith(".valid")})
        if self.layers.is_wanted:
            measured = self.layers.measure()
            self.layers._timed(lambda: self.recorder.metrics(trainer.images, measured.norms))
            self.layers._timed(lambda: self.recorder.histograms(trainer.images, measured.histograms))

    def metrics(self, images: int, values: dict[str, float]) -> None:
        self.recorder.metrics(images, values)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None  # nothing else is of interest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--pairs", type=int, default=4)
    args = parser.parse_args()
    use_project_folder()
    configs = Configs()
    configs.override(split_assignments(args.overrides))
    trainer = build(configs).trainer
    tracker_singleton().reset_writers()
    times: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), quiet=True)
        recorder.start(0)
        epochs = Epochs(trainer, recorder)
        epochs.train([])  # warm
        shares = []
        for pair in range(args.pairs):
            for name in ("without", "with") if pair % 2 else ("with", "without"):
                times[name].append(epochs.train(list(LAYER_METRICS) if name == "with" else []))
                if name == "with":
                    shares.append(epochs.layers.seconds / times[name][-1][1])
    for name, pairs in times.items():
        seconds, cpu = (median(values) for values in zip(*pairs, strict=True))
        print(f"{name:<8}{seconds:8.2f} s an epoch, {cpu:8.2f} s of processor time (medians of {args.pairs})")
    print(f"measuring and writing: {median(shares):.2%} of an epoch's processor time (median; most {max(shares):.2%})")


if __name__ == "__main__":
    main()
