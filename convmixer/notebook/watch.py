"""Shows the curves of runs in a notebook, and refreshes them while the runs train.

from convmixer.notebook.watch import watch
watch()                      # the last run and all running ones; the list offers the others
watch("5a46b3bc", "best")    # these two

With ipywidgets it is a widget that refreshes itself. Without them it is a picture: run the cell again to refresh it.
"""

import asyncio
import base64
import html
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convmixer.console import printable
from convmixer.errors import UserError
from convmixer.project import logs_folder
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.run_folder import LOG
from convmixer.tracking.runs import Run, all_runs, compare, run

SECONDS = 2.0  # between two refreshes
START = "Start a run: there is none yet. Use the button at the end of this notebook, or `python experiment.py`."

_live: dict[tuple[str, ...], "Watch"] = {}


def watch(*references: str) -> "Watch":
    """Show the curves of runs.

    If a cell is run again, its earlier output is no longer refreshed.

    Args:
        references: uuids, their unique beginnings, `last` or `best`; none: the last run and all running ones. Before
            there is a run, it says how to start one, and shows it as soon as it is there.

    Raises:
        UserError: there is no such run.
    """
    if references in _live:
        _live.pop(references).stop()
    found = [run(reference) for reference in references] or _running_or_last()
    _live[references] = Watch(found)
    return _live[references]


def _running_or_last() -> list[Run]:
    found = all_runs()
    return [r for r in found if r.is_running() or r is found[-1]]


class Watch:
    """The curves of `runs` as a notebook shows them: always a picture, and a widget if ipywidgets is installed.

    GitHub, nbconvert and notebooks without widgets show the picture. Without `runs`, it waits for the first one.
    """

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs
        self._logs = runs[0].folder.parents[1] if runs else logs_folder()
        self._picture, self._seen = b"", None
        self.widget = self._task = None
        if find_spec("ipywidgets") and (loop := _event_loop()):
            self.widget = self._build()
            self._task = loop.create_task(self._follow())

    def stop(self) -> None:
        """Stop refreshing."""
        if self._task:
            self._task.cancel()

    def picture(self) -> bytes:
        """Return the current curves as PNG, drawn again only if a run has changed; nothing while there are no runs."""
        now = [(r.uuid, _size(r.folder / LOG), r.status) for r in self.runs]
        if now and now != self._seen:
            buffer = io.BytesIO()
            learning_curves(self.runs).savefig(buffer, format="png", dpi=90)
            self._picture, self._seen = buffer.getvalue(), now
        return self._picture

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle = {"text/plain": f"curves of {', '.join(r.uuid[:8] for r in self.runs)}" if self.runs else START}
        if self.runs:
            bundle["image/png"] = base64.b64encode(self.picture()).decode()
        return (self.widget._repr_mimebundle_() if self.widget else {}) | bundle

    def _build(self) -> Any:
        import ipywidgets as widgets

        wide = widgets.Layout(width="95%")
        self._list = widgets.SelectMultiple(rows=6, layout=wide, description="runs")
        self._table = widgets.HTML()
        self._image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self._refresh()
        self._list.observe(self._choose, "value")
        return widgets.VBox([self._list, self._image, self._table])

    def _choose(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self.runs = [Run(Path(folder)) for folder in change["new"]]
            self._refresh_or_say_why()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            self._refresh_or_say_why()

    def _refresh_or_say_why(self) -> None:
        """A run's folder may be removed while it is shown, be half made, or hold nonsense."""
        try:
            self._refresh()
        except (UserError, OSError, ValueError) as problem:
            self._table.value = f"<pre>{html.escape(printable(str(problem)))}</pre>"

    def _refresh(self) -> None:
        self.runs = self.runs or _running_or_last()
        self._offer(all_runs(self._logs))
        self._image.layout.display = None if self.runs else "none"
        if not self.runs:
            self._table.value = f"<p>{html.escape(START)}</p>"
            return
        before = self._seen
        self._image.value = self.picture()
        if self._seen != before:
            self._table.value = compare(self.runs).to_html(border=0, na_rep="", float_format="{:.4g}".format)

    def _offer(self, found: list[Run]) -> None:
        """List the runs, newest first, and keep the selection."""
        options = [(_label(r), str(r.folder)) for r in reversed(found)]
        if list(self._list.options) != options:
            self._list.options = options  # which clears the selection
            there = [folder for _, folder in options]
            self._list.value = [str(r.folder) for r in self.runs if str(r.folder) in there]


def _label(r: Run) -> str:
    try:
        return printable(f"{r.uuid[:8]}  {r.info['name']}  {r.status}")
    except UserError:  # the table of runs in the notebook shows the reason
        return f"{r.uuid[:8]}  {r.folder.parent.name}  damaged"


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _event_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running event loop of a notebook's kernel; None in a script or a terminal."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
