"""MLflow: the server that `MLFLOW_TRACKING_URI` names, or the SQLite file `logs/mlflow.db`."""

import time
from collections.abc import Sequence
from os import environ

# A server that does not answer is asked again later, by the process that feeds this.
environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from convmixer.tracking.trackers.tracker import PROJECT, Line, TrackedRun, chart_name

RUN_TAG = "convmixer.run"  # the uuid
GROUP_TAG = "convmixer.group"
STATUS = {"completed": "FINISHED", "crashed": "FAILED", "running": "RUNNING"}  # all others were killed


class MLflow:
    """A run in MLflow. The runs of a sweep, or of a series of seeds, are nested below a run of the group's name.

    Step is the number of training images seen. Nothing can be taken back: where a run went back and came to other
    values, a step has both.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        project = environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        with FileLock(run.logs / ".mlflow.lock"):  # runs that begin together make one database, one group
            self._client = _client(run)
            known = self._client.get_experiment_by_name(project)
            self._experiment = known.experiment_id if known else self._create_experiment(project)
            self._id = _find(self._client, RUN_TAG, run.uuid) or self._begin()
        self._client.update_run(self._id, status="RUNNING")
        kept = self._client.get_run(self._id).data.params  # which may not be changed
        new = [Param(name, str(value)) for name, value in run.configs.items() if name not in kept]
        for start in range(0, len(new), 100):
            self._client.log_batch(self._id, params=new[start : start + 100])

    @staticmethod
    def place(run: TrackedRun) -> str:
        return environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{run.logs.resolve()}/mlflow.db")

    @staticmethod
    def has(run: TrackedRun) -> bool:
        return _find(_client(run), RUN_TAG, run.uuid) is not None

    def _create_experiment(self, name: str) -> str:
        is_here = MLflow.place(self._run).startswith("sqlite:")  # MLflow would put files into the current folder
        artifacts = (self._run.logs.resolve() / "mlflow").as_uri() if is_here else None
        return self._client.create_experiment(name, artifact_location=artifacts)

    def _begin(self) -> str:
        run, info = self._run, self._run.run.info
        tags = {RUN_TAG: run.uuid, "mlflow.note.content": info["comment"], "convmixer.tags": " ".join(info["tags"])}
        tags |= {"mlflow.source.name": info["python_file"], "mlflow.source.git.commit": info["commit"]}
        if run.group:
            tags |= {"mlflow.parentRunId": self._group(run.group), "convmixer.sweep": run.group}
        begun = self._client.create_run(self._experiment, int(run.started * 1000), tags, run.name)
        return begun.info.run_id

    def _group(self, name: str) -> str:
        known = _find(self._client, GROUP_TAG, name)
        if known:
            return known
        parent = self._client.create_run(self._experiment, None, {GROUP_TAG: name}, name).info.run_id
        self._client.set_terminated(parent)
        return parent

    def log(self, lines: Sequence[Line]) -> None:
        metrics = [Metric(chart_name(n), v, int(at * 1000), step) for step, at, vs in lines for n, v in vs.items()]
        for start in range(0, len(metrics), 1000):  # the most that MLflow takes
            self._client.log_batch(self._id, metrics=metrics[start : start + 1000])

    def rewind(self, step: int) -> bool:
        return False

    def end(self, status: str) -> None:
        run, now = self._run, int(time.time() * 1000)
        step = int(run.results.get("images", 0))
        results = {name: value for name, value in run.results.items() if not isinstance(value, str)}
        self._client.log_batch(
            self._id, metrics=[Metric(chart_name(name), value, now, step) for name, value in run.test_metrics.items()]
        )
        for name, value in {"status": status, **results}.items():
            self._client.set_tag(self._id, f"summary.{name}", value)
        for file in run.files:
            self._client.log_artifact(self._id, str(file))
        self._client.set_terminated(self._id, STATUS.get(status, "KILLED"))


def _client(run: TrackedRun) -> MlflowClient:
    return MlflowClient(MLflow.place(run))


def _find(client: MlflowClient, tag: str, value: str) -> str | None:
    project = client.get_experiment_by_name(environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
    if project is None:
        return None
    found = client.search_runs([project.experiment_id], f'tags.`{tag}` = "{value}"', max_results=1)
    return found[0].info.run_id if found else None


TRACKER = MLflow
