"""labml-app 0.5.14 as this dashboard needs it: patched from outside, here only, each patch with its reason.

`PAGE_PATCHES` are texts replaced in its static files as they are served; `apply` replaces functions of its server. A
test fails for each patch that a newer labml-app no longer needs, or no longer fits.
"""

import logging
import os
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convmixer.dashboard.series import binary, encode
from convmixer.errors import UserError

VERSION = "0.5.14"


class PagePatch(NamedTuple):
    """A text of a static file, how often it stands there, and what is served in its place."""

    file: str
    old: str
    count: int
    new: str
    reason: str


PAGE_PATCHES = (
    PagePatch(
        "js/bundle.min.js",
        "this.remainingTime=120",
        2,
        "this.remainingTime=0",
        "a page that is open looks for news every 120 s: every second",
    ),
    PagePatch(
        "js/bundle.min.js",
        "return 5e3<(new Date).getTime()-e",
        1,
        "return 500<(new Date).getTime()-e",
        "what was loaded within 5 s is not loaded again: half a second",
    ),
    PagePatch(
        "js/bundle.min.js",
        "this.smoothedLine=i.default.line().curve(i.default.curveMonotoneX).x((e,t)=>this.xScale(e.step))"
        ".y(e=>this.yScale(e.smoothed)),this.unsmoothedLine=i.default.line().curve(",
        1,
        "this.smoothedLine=i.default.line().defined(e=>e.lastStep==e.lastStep).curve(i.default.curveMonotoneX)"
        ".x((e,t)=>this.xScale(e.step)).y(e=>this.yScale(e.smoothed)),"
        "this.unsmoothedLine=i.default.line().defined(e=>e.lastStep==e.lastStep).curve(",
        "a NaN ends a line for good: a gap, where the server sends a NaN as the point's `last_step`",
    ),
    PagePatch(
        "js/bundle.min.js",
        "await this.savePreferences(),this.plotIdx=(0,l.fillPlotPreferences)(this.series,[]),"
        "this.basePlotIdx=(0,l.fillPlotPreferences)(this.baseSeries,[]),this.renderHeaders()",
        1,
        '[this.plotIdx,this.basePlotIdx]=[this.series,this.baseSeries||[]].map(e=>e.map(e=>e.name.startsWith("loss.")'
        "?1:-1)),await this.savePreferences(),this.renderHeaders()",
        "a comparison begins with no metric: with the losses",
    ),
    PagePatch(
        "js/bundle.min.js",
        "new Float32Array(t.byteLength/4)",
        1,
        "new Float64Array(t.byteLength/8)",
        "32 bits tell times only to 128 s, and steps to 16.7 million images: 64 bits are sent",
    ),
    PagePatch("js/bundle.min.js", "getFloat32(4*", 1, "getFloat64(8*", "as above"),
    PagePatch(
        "js/bundle.min.js",
        "t.value.toExponential(4)",
        1,
        "t.value.toPrecision(4)",
        "the list shows an accuracy of 84.09 % as 8.4090e-1: as 0.8409",
    ),
    PagePatch(
        "js/bundle.min.js",
        "Start monitoring your models by adding just two lines of code:",
        1,
        "Start one with python experiment.py. In code of your own, labml's two lines do it:",
        "who has no runs yet is not told how to start one here",
    ),
    PagePatch(
        "js/bundle.min.js",
        "Run the following command to start monitoring:",
        1,
        "They are recorded here while a run trains. For a labml server elsewhere:",
        "labml's monitor process is not needed",
    ),
)


def patched(file: str, content: bytes) -> bytes:
    """A static file as it is served.

    Raises:
        UserError: a text to replace is not there: another version of labml-app.
    """
    for patch in (p for p in PAGE_PATCHES if p.file == file):
        if content.count(patch.old.encode()) != patch.count:
            raise UserError(f"the dashboard needs labml-app {VERSION}: its {file} is of another version")
        content = content.replace(patch.old.encode(), patch.new.encode())
    return content


def prepare() -> None:
    """Before `labml_app` is imported: its settings stop at a missing address, and it logs every request."""
    os.environ.setdefault("LABML_APP_SERVER_IP", "127.0.0.1")
    os.environ.setdefault("LABML_APP_SERVER_PORT", "5005")
    logging.getLogger("LabML logger").propagate = False


def apply(list_item: Callable[[str], dict[str, Any]]) -> None:
    """All patches of the server.

    Args:
        list_item: what the list of runs shows of the run of that uuid, beside what labml-app sends.
    """
    from labml_app import db  # noqa: F401  (before its parts, which import each other)
    from labml_app.analyses.experiments import comparison, metrics
    from labml_app.analyses.experiments.custom_metrics import CustomMetricsListModel
    from labml_app.analyses.series import Series
    from labml_app.db import user
    from labml_app.db.run import Run
    from labml_app.db.user import User
    from labml_app.logger import logger

    # It writes a coloured line to stderr for what is no error (a run without a repository).
    logger.handlers = []
    # It puts the value before it in the place of a NaN, thins what is thin already, and takes 40 ms for 8 metrics.
    metrics.get_metrics_tracking_util = comparison.get_metrics_tracking_util = _series
    # 32 bits tell times only to 128 s (see PAGE_PATCHES).
    Series._data_to_binary = _series_in_64_bits
    # It adds a token at each view of a page and keeps them all for ever; nothing asks for them.
    User.generate_session_token = lambda self, auth_token: "local"
    # It writes at each view when the session ends; there is one user, whose session never does.
    user.get_by_session_token = lambda token: user.get("local")
    # Its keys are random: a chart must be found from its run.
    CustomMetricsListModel.create_custom_metric = _create_chart
    # The list has places for steps, metrics and no place for tags, and is sent neither.
    Run.get_summary = _with_list_item(Run.get_summary, list_item)


def _series(tracks: list[dict[str, Any]], preferences: list[int], get_all_data: bool) -> list[dict[str, Any]]:
    shown = [get_all_data or choice != -1 for choice in preferences]
    return [
        encode(track["name"], (track["step"], track["value"]), is_summary=False)
        if is_shown
        else encode(track["name"], _last(track), is_summary=True)
        for track, is_shown in zip(tracks, shown, strict=True)
    ]


def _last(track: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return track["step"][-1:], track["value"][-1:]


def _series_in_64_bits(self: Any) -> tuple[str, str, str]:
    return binary(self.value), binary(self.step), binary(self.last_step)


def _create_chart(self: Any, data: dict[str, Any]) -> dict[str, Any]:
    from labml_app.analyses.experiments.custom_metrics import CustomMetricModel

    run, chart = str(self.key).partition(":")[2], uuid.uuid4().hex
    model = CustomMetricModel(
        f"CustomMetricModel:{run}.{chart}",
        name=data["name"],
        description=data.get("description", ""),
        created_time=time.time(),
    )
    model.save()
    self.metrics.append((chart, model.key))
    self.save()
    return model.key.load().get_data()


def _with_list_item(
    get_summary: Callable[[Any], dict[str, Any]], list_item: Callable[[str], dict[str, Any]]
) -> Callable[[Any], dict[str, Any]]:
    def summary(run: Any) -> dict[str, Any]:
        return {**get_summary(run), **list_item(run.run_uuid)}

    return summary
