"""The functions of labml-app 0.5.14's server that this dashboard replaces, each with its reason.

Its page is patched in `page_patches`. A test fails for each patch that a newer labml-app no longer needs.
"""

import logging
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from convmixer.dashboard.series import binary, encode


def prepare() -> None:
    """Before `labml_app` is imported: its settings stop at a missing address, and it logs every request."""
    os.environ.setdefault("LABML_APP_SERVER_IP", "127.0.0.1")
    os.environ.setdefault("LABML_APP_SERVER_PORT", "5005")
    logging.getLogger("LabML logger").propagate = False


def apply(list_item: Callable[[str], dict[str, Any]], page_item: Callable[[str], dict[str, Any]]) -> None:
    """Replace the functions of the server.

    Args:
        list_item: what the list of runs shows of the run of that uuid, beside what labml-app sends.
        page_item: the same for the page of a run.
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
    # 32 bits tell times only to 128 s (see page_patches).
    Series._data_to_binary = _series_in_64_bits
    # It adds a token at each view of a page and keeps them all for ever; nothing asks for them.
    User.generate_session_token = lambda self, auth_token: "local"
    # It writes at each view when the session ends; there is one user, whose session never does.
    user.get_by_session_token = lambda token: user.get("local")
    # Its keys are random: a chart must be found from its run.
    CustomMetricsListModel.create_custom_metric = _create_chart
    # The list has places for steps, metrics and no place for tags, and is sent neither.
    Run.get_summary = _with_more(Run.get_summary, list_item)
    # A run's page is sent no results.
    Run.get_data = _with_more(Run.get_data, page_item)


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


def _with_more(send: Callable[..., dict[str, Any]], more: Callable[[str], dict[str, Any]]) -> Callable[..., Any]:
    def send_more(run: Any, *args: Any) -> dict[str, Any]:
        return {**send(run, *args), **more(run.run_uuid)}

    return send_more
