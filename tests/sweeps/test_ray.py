"""Sweeps on a real Ray cluster of two nodes on this machine."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import standin
from conftest import EXPERIMENT

from convmixer.errors import UserError
from convmixer.sweeps import storage
from convmixer.sweeps.report import table
from convmixer.tracking.run_folder import read_log
from convmixer.tracking.runs import all_runs

if os.environ.get("CONVMIXER_CI"):
    import ray
else:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A head and a second node, a CPU each."""
    from ray.cluster_utils import Cluster

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STANDIN_SECONDS", "3")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def executor(cluster: Any, **changes: Any) -> Any:
    from convmixer.sweeps.ray_executor import RayExecutor

    there = {"address": cluster.address, "script": Path(standin.__file__)}
    return RayExecutor(**{**there, "jobs": None, "cpus": 1, "gpus": 0, "fixed": {}, **changes})


class KillsTheSecondNode:
    """Once every node trains, and has come some way."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.killed = cluster, False

    def ended(self, trial: object) -> None:
        pass

    def looked(self, active: list) -> None:
        if not self.killed and len(active) == 2 and all(a.has_begun and a.epochs >= 2 for a in active):
            self.killed = True
            self.cluster.remove_node(self.cluster.second, allow_graceful=False)


def test_a_node_killed_in_mid_sweep_loses_nothing(cluster, tmp_path) -> None:
    watcher = KillsTheSecondNode(cluster)
    standin.drive({"trials": 4, "executor": executor(cluster), "watcher": watcher, "retry": 1, "sampler": "random"})
    study = storage.load("standin")
    assert watcher.killed
    assert list(table(study)["state"]) == ["complete"] * 4
    assert sorted(t.user_attrs.get("retries", 0) for t in study.trials) == [0, 0, 0, 1]
    for log in tmp_path.glob("logs/standin/*/log.jsonl"):
        assert [line["track"]["accuracy.valid"][0][0] for line in read_log(log)] == [1, 2, 3, 4, 5]


def test_without_a_retry_the_lost_trial_is_failed_and_the_sweep_goes_on(cluster) -> None:
    watcher = KillsTheSecondNode(cluster)
    standin.drive({"trials": 3, "executor": executor(cluster), "watcher": watcher, "sampler": "random"})
    rows = table(storage.load("standin"))
    assert sorted(rows["state"]) == ["complete", "complete", "failed"]
    assert "its node or worker was lost" in rows["reason"].max()


def test_a_hopeless_run_is_stopped_on_its_node(cluster) -> None:
    points = {"x": "0.3,0.31,0.29,0.3001,0.9"}
    standin.drive(
        {"trials": 5, "executor": executor(cluster, jobs=1), "space": points, "sampler": "grid", "pruner": "median"}
    )
    assert list(table(storage.load("standin"))["state"]) == ["complete"] * 4 + ["pruned"]


def test_what_the_cluster_lacks_is_said(cluster) -> None:
    with pytest.raises(UserError, match=r"no node has 64 CPUs and 0 GPUs"):
        executor(cluster, cpus=64)
    with pytest.raises(UserError, match=r"node \S+ has no /nowhere/images: put it there, or on a disk"):
        executor(cluster, fixed={"data.path": "/nowhere/images"})
    with pytest.raises(UserError, match=r"--ray 127.0.0.1:1: no Ray cluster there"):
        executor(cluster, address="127.0.0.1:1")


def test_real_runs_on_the_cluster(cluster, command, tiny_run_overrides, tmp_path) -> None:
    words = [o for o in tiny_run_overrides if not o.startswith("d_model")]
    space = ["d_model=8,12", "--sampler", "grid", "--ray", cluster.address]
    ended = command("sweep", *words, *space, "device=cpu", script=EXPERIMENT)
    assert len(re.findall(r"^trial +\d complete", ended.stdout, re.MULTILINE)) == 2
    assert ended.stderr == ""
    runs = all_runs(tmp_path / "logs")
    assert len(runs) == 2 and all(r.status == "completed" for r in runs)
    assert all(r.checkpoint("best").exists() and (r.folder / "curves.png").exists() for r in runs)
    assert "test accuracy" in command("evaluate", runs[0].uuid).stdout
