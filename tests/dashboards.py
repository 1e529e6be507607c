"""A real dashboard process over a folder with a real run, and a client that sends whatever it is told to."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiment.py"


class Answer(NamedTuple):
    """What the server sent back."""

    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


class Dashboard:
    """A running dashboard."""

    def __init__(self, project: Path, url: str, process: subprocess.Popen) -> None:
        self.project = project
        self.logs = project / "logs"
        self.url = re.sub(r"/\?token=.*", "", url)
        self.token = url.partition("token=")[2]
        self.port = int(self.url.rpartition(":")[2])
        self.process = process

    @property
    def run(self) -> str:
        """The uuid of the run that was trained there."""
        (folder,) = self.logs.glob("tiny-*/*")
        return folder.name

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A request, its path sent as it stands here."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        result = Answer(answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
        connection.close()
        return result

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """What a view of the page gets."""
        answer = self.ask(method, f"/api/v1/{path}", body)
        assert answer.status == 200, (path, answer.status, answer.body[:500])
        return answer.json()

    def list(self, folder: str = "default") -> dict[str, dict[str, Any]]:
        """The list's items, by uuid."""
        return {item["run_uuid"]: item for item in self.api("GET", f"runs/null?folder_name={folder}")["runs"]}

    def metrics(self, uuid: str) -> dict[str, dict[str, Any]]:
        """A run's series as its page gets them, by name."""
        series = self.api("POST", f"metrics/{uuid}?current=", {"get_all": True})["series"]
        return {item["name"]: item for item in series}

    def copy_of(self, uuid: str, name: str) -> Path:
        """A copy of a run as if from another machine, under a uuid of its own."""
        (folder,) = self.logs.glob(f"*/{uuid}")
        return Path(shutil.copytree(folder, folder.parent.parent / "copies" / name))


@pytest.fixture(scope="session")
def start_dashboard() -> Iterator[Callable[..., Dashboard]]:
    """Starts `python experiment.py dashboard` in a folder, on a free port."""
    started = []

    def start(project: Path, *options: str, descriptors: int | None = None, **environment: str) -> Dashboard:
        limit = ["prlimit", f"--nofile={descriptors}"] if descriptors else []
        process = subprocess.Popen(
            [*limit, sys.executable, str(EXPERIMENT), "dashboard", "--port", "0", *options],
            cwd=project,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        line = process.stdout.readline()
        assert line.startswith("dashboard  http"), process.communicate()
        return Dashboard(project, line.split()[1], process)

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory, tiny_run_overrides: list[str]) -> Path:
    """A project folder with one run."""
    project = tmp_path_factory.mktemp("project")
    overrides = [*tiny_run_overrides, "comment=a first try", "label_smoothing=0.2"]
    subprocess.run([sys.executable, str(EXPERIMENT), *overrides], cwd=project, check=True, capture_output=True)
    return project


@pytest.fixture(scope="session")
def dashboard(one_run: Path, start_dashboard: Callable[..., Dashboard]) -> Dashboard:
    """A dashboard of that project."""
    return start_dashboard(one_run)


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What `condition` gives when it is true at last."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value
