"""What goes wrong around a running dashboard: nobody reads what it says, the disk is full, a run is another user's."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dashboards import Dashboard, wait_until
from filelock import FileLock

from convmixer.tracking.run_folder import LOCK
from convmixer.tracking.runs import Run

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk or to be another user")


def copied(source: Dashboard, project: Path) -> Path:
    """The trained run in another project."""
    folder = project / "logs" / "tiny-small" / source.run
    shutil.copytree(source.logs / "tiny-small" / source.run, folder)
    return folder


def test_following_goes_on_when_nobody_reads_its_warnings(
    dashboard: Dashboard, tmp_path: Path, start_dashboard: Callable[..., Dashboard]
) -> None:
    folder = copied(dashboard, tmp_path)
    deaf = start_dashboard(tmp_path)
    deaf.process.stderr.close()
    deaf.process.stdout.close()
    for _ in range(2):
        os.mkfifo(folder / "pipe")  # a warning
        wait_until(lambda: not deaf.list(), seconds=30)
        (folder / "pipe").unlink()
        wait_until(deaf.list, seconds=30)
    deaf.process.kill()
    deaf.process.wait()
    deaf.process.stdout = deaf.process.stderr = None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> None:
    try:
        with open(disk / "filler", "ab", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
    except OSError:
        pass


@AS_ROOT
@pytest.mark.parametrize("is_full_at_first", [False, True])
def test_a_full_disk(
    dashboard: Dashboard, small_disk: Path, start_dashboard: Callable[..., Dashboard], is_full_at_first: bool
) -> None:
    folder = copied(dashboard, small_disk)
    if is_full_at_first:
        fill(small_disk)
    full = start_dashboard(small_disk)
    fill(small_disk)
    copy = folder.with_name("e1")
    os.rename(folder, copy)  # a run that is in no index
    wait_until(lambda: "e1" in full.list(), seconds=30)
    for path in ("run/e1", "run/status/e1", "custom_metrics/e1", "metrics/preferences/e1"):
        full.api("GET", path)
    assert full.metrics("e1")["loss.train"]
    answer = full.ask("POST", "/api/v1/run/e1", {"name": "renamed", "note": "x" * 10_000})
    assert answer.status == 507
    assert "No space left" in answer.json()["error"]
    assert full.list()["e1"]["name"] == "tiny-small"
    (small_disk / "filler").unlink()
    full.api("POST", "run/e1", {"name": "renamed"})
    assert json.loads((copy / "dashboard.json").read_text())["name"] == "renamed"


def seen_by_another_user(folder: Path) -> str:
    """The run's status as the user nobody sees it, from a process of its own."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(writing, Run(folder).status.encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    with os.fdopen(reading) as pipe:
        return pipe.read()


@AS_ROOT
def test_a_run_of_another_user(dashboard: Dashboard, tmp_path: Path) -> None:
    folder = copied(dashboard, tmp_path)
    (folder / "summary.json").unlink()
    (folder / "run_log.jsonl").unlink()
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o055)
    assert seen_by_another_user(folder) == "killed"
    with FileLock(folder / LOCK):
        assert Run(folder).status == "running"
        assert seen_by_another_user(folder) == "running"
        (folder / LOCK).chmod(0o600)
        assert seen_by_another_user(folder) == "unknown"


def test_a_look_does_not_take_the_lock(dashboard: Dashboard, tmp_path: Path) -> None:
    folder = copied(dashboard, tmp_path)
    (folder / LOCK).unlink()
    assert Run(folder).status == "completed"
    assert not (folder / LOCK).exists()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        with FileLock(folder / LOCK, timeout=0.2):
            assert Run(folder).is_running()
        assert not Run(folder).is_running()
