"""trackio: its database on this machine, or the server or Space that its environment variables name."""

from collections.abc import Sequence
from os import environ

import trackio
from trackio.sqlite_storage import SQLiteStorage
from trackio.utils import TRACKIO_DIR

from convmixer.tracking.run_folder import CURVES
from convmixer.tracking.trackers.tracker import PROJECT, Line, TrackedRun, chart_name

SERVERS = ("TRACKIO_SERVER_URL", "TRACKIO_SPACE_ID")


class Trackio:
    """A run in trackio. A sweep, or a series of seeds, is a group.

    Step is the number of training images seen. Nothing can be taken back: where a run went back and came to other
    values, a step has both. trackio records when it was told of a value, not when that was measured.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._trackio = trackio.init(
            project=environ.get("TRACKIO_PROJECT", PROJECT),
            name=run.name,
            group=run.group,
            config=run.configs,
            resume="allow",
            embed=False,
            auto_log_gpu=False,  # of this process, not of the training
            auto_log_cpu=False,
        )

    @staticmethod
    def place(run: TrackedRun) -> str:
        server = next((environ[name] for name in SERVERS if environ.get(name)), TRACKIO_DIR)
        return f"{server}/{environ.get('TRACKIO_PROJECT', PROJECT)}"

    @staticmethod
    def has(run: TrackedRun) -> bool:
        if any(environ.get(name) for name in SERVERS):
            return True
        return run.name in SQLiteStorage.get_runs(environ.get("TRACKIO_PROJECT", PROJECT))

    def log(self, lines: Sequence[Line]) -> None:
        for step, _, values in lines:
            self._trackio.log({chart_name(name): value for name, value in values.items()}, step=step)

    def rewind(self, step: int) -> bool:
        return False

    def end(self, status: str) -> None:
        run = self._run
        summary = "\n".join(f"- {name}: {value}" for name, value in {"status": status, **run.results}.items())
        last = {chart_name(name): value for name, value in run.test_metrics.items()}
        last |= {"summary": trackio.Markdown(summary), "console": trackio.Markdown(f"```\n{run.console}\n```")}
        curves = run.run.folder / CURVES
        if curves.exists():
            last["curves"] = trackio.Image(str(curves))
        self._trackio.log(last, step=int(run.results.get("images", 0)) or None)
        self._trackio.finish()


TRACKER = Trackio
