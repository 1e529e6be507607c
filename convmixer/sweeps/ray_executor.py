"""Trains the runs of a sweep on the machines of a Ray cluster: an actor for each run.

The driver holds the study and all run folders. A run is trained in a folder of its own on its node, and what it writes
comes back as it is written, checkpoints included: a run whose node dies is resumed on another (`--retry`).
"""

import os
import socket
import time
from pathlib import Path
from typing import Any

from convmixer.errors import UserError
from convmixer.files.atomic import write_atomically
from convmixer.project import logs_folder, project_folder, settings
from convmixer.sweeps import ray_node
from convmixer.sweeps.executors import Task, threads
from convmixer.tracking import child_run

PACKAGE = Path(__file__).resolve().parents[1]
POLL = 0.3  # seconds between two polls of a run
CONNECT_PATIENCE = 10.0  # seconds that the head has to answer
CHECK_PATIENCE = 120.0  # seconds that a node has to start a worker and answer


class RayExecutor:
    """Runs on a Ray cluster, each with `cpus` and `gpus` of one node.

    Raises:
        UserError: Ray or the cluster is not available, a run fits on no node, or a node lacks code or data.
    """

    def __init__(
        self, address: str, script: Path, jobs: int | None, cpus: float, gpus: float, fixed: dict[str, Any]
    ) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--ray needs Ray: pip install '.[ray]'") from None
        self._ray = ray
        self._script = str(script)
        self._data_folder = str(project_folder() / settings().get("data_path", "data"))
        self._resources = {"num_cpus": cpus, "num_gpus": gpus}
        self._threads = threads(cpus)
        self._jobs = jobs or 10**9
        self._running = 0
        _check_address(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"--ray {address}: no Ray cluster there: {reason}") from None
        for sent_along in (ray_node, child_run):
            ray.cloudpickle.register_pickle_by_value(sent_along)
        self._actor = ray.remote(**self._resources, max_restarts=0, max_task_retries=0)(ray_node.NodeRun)
        self._check_nodes(fixed.get("data.path"))
        if self.width() == 0:
            self.close()
            raise UserError(f"--ray {address}: no node has {cpus:g} CPUs and {gpus:g} GPUs")

    def _check_nodes(self, data: str | None) -> None:
        ray, package = self._ray, str(PACKAGE)
        expected = ray_node.digest(self._script, package)
        check = ray.remote(num_cpus=0, max_retries=0)(ray_node.missing)
        asked = {}
        for node in self._nodes():
            there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            path = os.path.abspath(data) if data else None
            task = check.options(scheduling_strategy=there).remote(self._script, package, expected, path)
            asked[task] = node["NodeManagerAddress"]
        for task, address in asked.items():
            try:
                lacking = ray.get(task, timeout=CHECK_PATIENCE)
            except ray.exceptions.RayError as error:
                lacking = f"node {address} does not answer: {' '.join(str(error).split())[:200]}"
            if lacking:
                self.close()
                raise UserError(f"--ray: {lacking}")

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def width(self) -> int:
        return min(self._jobs, sum(self._fitting(node["Resources"]) for node in self._nodes()))

    def _fitting(self, there: dict[str, float]) -> int:
        needs = {"CPU": self._resources["num_cpus"], "GPU": self._resources["num_gpus"]}
        return min(int(there.get(name, 0) // number) for name, number in needs.items() if number)

    def free(self) -> int:
        return max(0, self.width() - self._running)

    def start(self, task: Task) -> "RayProcess":
        folder = next(logs_folder().glob(f"*/{task.uuid}"), None)
        files = ray_files(folder) if folder else {}
        words = [_absolute_data(word) for word in task.arguments]
        environment = task.environment | {"OMP_NUM_THREADS": self._threads, "MKL_NUM_THREADS": self._threads}
        if not self._resources["num_gpus"]:
            environment["CUDA_VISIBLE_DEVICES"] = ""  # otherwise Ray names the GPUs that are the run's own
        actor = self._actor.remote([self._script, *words], task.uuid, environment, files, self._data_folder)
        self._running += 1
        return RayProcess(self._ray, actor, task, self._ended)

    def _ended(self) -> None:
        self._running -= 1

    def close(self) -> None:
        self._ray.shutdown()


def _check_address(address: str) -> None:
    """Ray itself waits for minutes where nobody answers."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = error if isinstance(error, OSError) else "expected auto or HOST:PORT"
        raise UserError(f"--ray {address}: no Ray cluster there: {reason}") from None


def ray_files(folder: Path) -> ray_node.Files:
    """Read what a run folder holds, to be sent to a node."""
    logs = folder.parent.parent
    files = [f for f in folder.rglob("*") if f.is_file() and not f.name.startswith(".")]
    return {str(f.relative_to(logs)): f.read_bytes() for f in files}


def _absolute_data(word: str) -> str:
    """A node's runs have another working directory."""
    name, _, value = word.partition("=")
    return f"{name}={os.path.abspath(value)}" if name == "data.path" else word


class RayProcess:
    """A run on some node."""

    def __init__(self, ray: Any, actor: Any, task: Task, ended: Any) -> None:
        self._ray, self._actor, self._task, self._ended = ray, actor, task, ended
        self._asked = actor.poll.remote()
        self._asked_at = time.monotonic()
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is not None:
            return self._status
        ready, _ = self._ray.wait([self._asked], timeout=0)
        if not ready or time.monotonic() < self._asked_at + POLL:
            return None
        try:
            status, files, output = self._ray.get(self._asked)
        except self._ray.exceptions.RayError as error:
            return self._lost(error)
        self._keep(files)
        with open(self._task.output, "ab") as printed:
            printed.write(output)
        if status is None:
            self._asked, self._asked_at = self._actor.poll.remote(), time.monotonic()
            return None
        return self._end(status)

    def _keep(self, files: ray_node.Files) -> None:
        for name, content in files.items():
            file = logs_folder() / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)

    def _lost(self, error: Exception) -> int:
        reason = " ".join(str(error).split())[:300]
        with open(self._task.output, "a", encoding="utf-8") as file:
            file.write(f"error: its node or worker was lost: {reason}\n")
        return self._end(1)

    def _end(self, status: int) -> int:
        self._status = status
        self._ended()
        self._ray.kill(self._actor)
        return status

    def stop(self) -> None:
        self._actor.stop.remote()
