"""Each patch of labml-app is still needed: the test fails when a newer one makes it superfluous, or no longer fits."""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest
from conftest import PROJECT

from convmixer.dashboard.page_patches import PAGE_PATCHES, VERSION, PagePatch, patched
from convmixer.errors import UserError

STATIC = Path(str(files("labml_app"))) / "static"


@pytest.mark.parametrize("patch", PAGE_PATCHES, ids=lambda p: p.reason[:40])
def test_a_text_of_the_page_is_there_to_be_replaced(patch: PagePatch) -> None:
    content = (STATIC / patch.file).read_bytes()
    assert content.count(patch.old.encode()) == patch.count, f"labml-app {version('labml-app')}: {patch.reason}?"
    assert patched(patch.file, content).count(patch.new.encode()) >= 1


def test_another_version_of_the_page_is_refused() -> None:
    with pytest.raises(UserError, match=f"labml-app {VERSION}"):
        patched("js/bundle.min.js", b"a page that was rewritten")


def test_the_pinned_version_is_the_patched_one() -> None:
    assert version("labml-app") == VERSION


# Upstream's server as it is, over a store of its own: prints what it still does that it is patched for.
UNPATCHED = """
import base64
from pathlib import Path
import numpy
from labml_app import db
from labml_app.analyses.experiments import metrics
from labml_app.analyses.experiments.custom_metrics import CustomMetricsListModel
from labml_app.analyses.series import Series
from labml_app.db.run import Run
from labml_app.db.user import User, UserSessionTokenIndex, get_by_session_token
from labml_app.logger import logger
from labml_db import Index, Model
from convmixer.dashboard.storage import Store, StoredIndex, StoredModels

store = Store(Path("test.sqlite"))
Model.set_db_drivers([StoredModels(m, store) for m in db.models])
Index.set_db_drivers([StoredIndex(i, store) for i in db.indexes])

def told(text): return numpy.frombuffer(base64.b64decode(text), "<f4").tolist()

track = {"name": "loss", "step": [1, 2], "value": [5.0, float("nan")]}
if told(metrics.get_metrics_tracking_util([track], [1], True)[0]["value"])[-1] == 5.0:
    print("masks a NaN by the value before it")

series = Series()
series.update([1.8e9, 1.8e9 + 5], [1.0, 2.0])
if len(set(told(series.detail["step"]))) == 1:
    print("tells times to 128 s")

user = User(identifier="x")
user.generate_session_token("local")
user.generate_session_token("local")
if len(user.session_tokens) == 2:
    print("adds a token at each view")

user.save()
before = dict(user.session_tokens)
UserSessionTokenIndex.set(max(before), user.key)
get_by_session_token(max(before))
if user.key.load().session_tokens != before:
    print("writes at each view when the session ends")

charts = CustomMetricsListModel("CustomMetricsListModel:abc")
charts.create_custom_metric({"name": "x"})
if "abc" not in str(charts.metrics[0][1]):
    print("draws a chart's key at random")

if not {"step", "metric_values", "tags"} & Run(run_uuid="abc", tags=["small"]).get_summary().keys():
    print("sends the list no steps, metrics or tags")

if logger.handlers:
    print("logs to stderr")
"""


@pytest.fixture(scope="module")
def what_upstream_does(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What it prints."""
    folder = tmp_path_factory.mktemp("upstream")
    settings = {"LABML_APP_SERVER_IP": "127.0.0.1", "LABML_APP_SERVER_PORT": "1", "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", UNPATCHED]
    ended = subprocess.run(command, cwd=folder, env=os.environ | settings, check=True, capture_output=True, text=True)
    return ended.stdout.splitlines()


@pytest.mark.parametrize(
    "what",
    [
        "masks a NaN by the value before it",
        "tells times to 128 s",
        "adds a token at each view",
        "writes at each view when the session ends",
        "draws a chart's key at random",
        "sends the list no steps, metrics or tags",
        "logs to stderr",
    ],
)
def test_a_function_of_the_server_still_needs_its_patch(what_upstream_does: list[str], what: str) -> None:
    assert what in what_upstream_does


def test_a_missing_address_still_stops_its_import() -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("LABML_APP_")}
    ended = subprocess.run([sys.executable, "-c", "import labml_app.settings"], env=without, capture_output=True)
    assert b"KeyError" in ended.stderr
