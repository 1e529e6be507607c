"""Starts runs from a notebook: with the same command as in a terminal, in their own process.

from convmixer.notebook.launch import Launcher, start
Launcher("data.dataset=shapes epochs=2")             # a text field and buttons; needs ipywidgets
run, process = start("data.dataset=shapes", "epochs=2")
process.terminate()          # stops it after a checkpoint; `python experiment.py resume last` resumes it
"""

import asyncio
import os
import shlex
import signal
import subprocess
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convmixer.errors import UserError
from convmixer.notebook.watch import Watch
from convmixer.project import logs_folder, project_folder
from convmixer.tracking.child_run import start_run
from convmixer.tracking.runs import Run

SCRIPT = Path(__file__).resolve().parents[2] / "experiment.py"


def start(*overrides: str, script: Path = SCRIPT) -> tuple[Run, subprocess.Popen]:
    """Start a training, wait until the run has its folder, and return the run and its process.

    The training continues if the notebook is closed.

    Args:
        overrides: KEY=VALUE each.
        script: `experiment.py`, or your own script with a `Configs`.

    Raises:
        UserError: the training did not start; the message is that of the command.
    """
    identity = uuid.uuid1().hex
    with tempfile.TemporaryFile("w+") as errors:
        process = start_run(
            [str(script), "train", *overrides, "--quiet"],
            identity,
            outlives=True,
            cwd=project_folder(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        while True:
            has_ended = process.poll() is not None
            if found := next(logs_folder().glob(f"*/{identity}/configs.yaml"), None):
                return Run(found.parent), process
            if has_ended:
                errors.seek(0)
                lines = errors.read().splitlines() or [f"the training ended with exit status {process.returncode}"]
                raise UserError(lines[-1].removeprefix("error: "))
            time.sleep(0.1)


STOP = signal.SIGINT if os.name != "nt" else signal.SIGTERM  # on Windows it ends at once, without a checkpoint


class Launcher:
    """A widget with a field for overrides, buttons that start and stop a run, and the curves of that run.

    Nothing starts before the button is pressed, so a notebook can be run from top to bottom.
    """

    def __init__(self, overrides: str) -> None:
        self.overrides = overrides
        self.process: subprocess.Popen | None = None
        self.watch: Watch | None = None

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        arguments = ", ".join(map(repr, shlex.split(self.overrides)))
        bundle = {"text/plain": f"to start a run: run, process = start({arguments})"}
        return (self._build()._repr_mimebundle_(**options) if find_spec("ipywidgets") else {}) | bundle

    def _build(self) -> Any:
        import ipywidgets as widgets

        self._field = widgets.Text(self.overrides, description="overrides", layout=widgets.Layout(width="95%"))
        self._start = widgets.Button(description="Start", button_style="primary")
        self._stop = widgets.Button(description="Stop", disabled=True, tooltip="Stops the run after a checkpoint")
        self._message = widgets.Label()
        self._start.on_click(lambda _: asyncio.ensure_future(self._begin()))
        self._stop.on_click(lambda _: self.process.send_signal(STOP))
        buttons = widgets.HBox([self._start, self._stop, self._message])
        self._box = widgets.VBox([self._field, buttons])
        return self._box

    async def _begin(self) -> None:
        self._start.disabled, self._message.value = True, "starting ..."
        try:
            run, self.process = await asyncio.to_thread(start, *shlex.split(self._field.value))
        except (UserError, ValueError) as problem:  # ValueError: a quotation mark without its other half
            self._message.value = str(problem)
        else:
            self._message.value = f"run {run.uuid[:8]}"
            self._show(run)
            self._stop.disabled = False
            await asyncio.to_thread(self.process.wait)
            self._stop.disabled = True
        self._start.disabled = False

    def _show(self, run: Run) -> None:
        if self.watch:
            self.watch.stop()
        self.watch = Watch([run])
        self._box.children = [*self._box.children[:2], self.watch.widget]
