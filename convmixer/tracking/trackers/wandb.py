"""Weights & Biases: the server that `wandb login` knows, or, with `WANDB_MODE=offline`, the folder `logs/wandb/`."""

from collections.abc import Sequence
from os import environ
from pathlib import Path
from shutil import copy

import wandb

from convmixer.tracking.run_folder import CURVES
from convmixer.tracking.trackers.tracker import PROJECT, Line, TrackedRun, chart_name

LONGEST_START = 30  # seconds that the server may take to answer


class WandB:
    """A run in W&B, whose id is the run's uuid. A sweep, or a series of seeds, is a group.

    W&B's own steps only count up, so charts have `images`, the training images seen, as their x-axis. Nothing can be
    taken back: where a run went back and came to other values, both are there.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        settings = wandb.Settings(console="off", silent=True, init_timeout=LONGEST_START)
        settings.x_disable_stats = run.pid is None  # the use of CPU and GPU is that of the training process
        settings.x_stats_pid = run.pid or settings.x_stats_pid
        info = run.run.info
        try:
            self._wandb = wandb.init(
                project=environ.get("WANDB_PROJECT", PROJECT),
                id=run.uuid,
                name=run.name,
                group=run.group,
                notes=info["comment"] or None,
                tags=[tag[:64] for tag in info["tags"]],
                config=run.configs,
                resume="allow",
                dir=run.logs,
                settings=settings,
            )
        except BaseException:
            wandb.teardown()  # or the next attempt finds the run in use
            raise
        self._wandb.define_metric("images", hidden=True)
        self._wandb.define_metric("*", step_metric="images")

    @staticmethod
    def place(run: TrackedRun) -> str:
        known = wandb.setup().settings
        server = run.logs / "wandb" if known.mode == "offline" else known.base_url
        return "/".join(filter(None, [str(server), known.entity, environ.get("WANDB_PROJECT", PROJECT)]))

    @staticmethod
    def has(run: TrackedRun) -> bool:
        if wandb.setup().settings.mode != "offline":
            return True  # to ask would take a login
        return any((run.logs / "wandb").glob(f"offline-run-*-{run.uuid}"))

    def log(self, lines: Sequence[Line]) -> None:
        for step, at, values in lines:
            self._wandb.log({"images": step, "_timestamp": at} | {chart_name(n): value for n, value in values.items()})

    def rewind(self, step: int) -> bool:
        return False

    def end(self, status: str) -> None:
        run = self._run
        tests = {chart_name(name): value for name, value in run.test_metrics.items()}
        curves = run.run.folder / CURVES
        pictures = {"curves": wandb.Image(str(curves))} if curves.exists() else {}
        if tests or pictures:
            self._wandb.log({"images": run.results.get("images"), **tests, **pictures})
        self._wandb.summary.update({"status": status} | {chart_name(n): value for n, value in run.results.items()})
        for file in run.files:  # as copies: W&B would make links to the run's folder, which may be moved
            there = self._wandb.dir
            self._wandb.save(copy(file, Path(there) / file.name), base_path=there, policy="now")
        self._wandb.finish(exit_code=0 if status == "completed" else 1)


TRACKER = WandB
