"""`torchrun ... experiment.py`, for real: what several workers come to, and what becomes of them when one is lost."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from conftest import EXPERIMENT, metrics_saved, wait_for

from convmixer.tracking.histograms import is_of_layer
from convmixer.tracking.run_folder import read_log
from convmixer.tracking.runs import Run, all_runs
from convmixer.training.distributed import torchrun
from convmixer.training.distributed.workers import Workers

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
EVERYTHING = [
    "optimizer.optimizer=Muon",
    "optimizer.eps=1e-3",  # the paper's; where gradients are near 0, a smaller one makes much of their rounding
    "ema=0.9",
    "stochastic_depth=0.2",
    "micro_batch_size=13",
    "augment.ops=[resized_crop,flip,randaugment,erasing,mixup,cutmix]",
    "augment.off_for=0.3",
]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `torchrun OPTIONS experiment.py ARGUMENTS` in the test's folder; ends it with the test."""
    started: list[subprocess.Popen] = []

    def begin(*arguments: str, options: tuple[str, ...] = (), workers: int = 2) -> subprocess.Popen:
        process = subprocess.Popen(
            [*TORCHRUN, f"--nproc-per-node={workers}", *options, str(EXPERIMENT), *arguments],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        for worker in workers_of(process):
            worker.kill()
        if process.poll() is None:
            process.kill()
            process.communicate()


def workers_of(launcher: subprocess.Popen) -> list[psutil.Process]:
    """The workers that a torchrun has now, in the order of their ranks."""
    try:
        children = psutil.Process(launcher.pid).children()
        return sorted((c for c in children if str(EXPERIMENT) in c.cmdline()), key=lambda c: c.pid)
    except psutil.NoSuchProcess:
        return []


def output_of(launcher: subprocess.Popen, status: int = 0) -> str:
    output, _ = launcher.communicate(timeout=200)
    assert launcher.returncode == status, output
    return output


def weights(run: Run) -> dict[str, torch.Tensor]:
    return torch.load(run.checkpoint("last"), weights_only=True)["model"]


def only_run(folder: Path) -> Run:
    (found,) = all_runs(folder / "logs")
    return found


@pytest.fixture(scope="module")
def overrides(tiny: Path) -> list[str]:
    """20 updates of 52 of 209 images: the fifth batch of an epoch has one, so all workers but the first have none."""
    data = ["data.dataset=images", f"data.path={tiny}", "data.validation=31"]
    # Whitened, these few images would make weights so large that rounding grows with them.
    return [*data, "starts=[]", "d_model=8", "n_layers=2", "patch_size=2", "train_batch_size=52", "steps=20"]


def assert_near(ours: Run, theirs: Run, most: float = 1e-5) -> None:
    """The same weights and statistics within `most`, and the same figures within what that makes of them."""
    expected = weights(theirs)
    for name, value in weights(ours).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=most, msg=lambda why, n=name: f"{n}: {why}")
    names = ["loss.train", "accuracy.train", "loss.valid", "accuracy.valid", "norm.gradient", "optim.lr"]
    for name in names + [name for name in theirs.metrics if is_of_layer(name)]:
        a, b = ours.metrics[name].dropna(), theirs.metrics[name].dropna()
        assert list(a.index) == list(b.index)
        assert a.to_list() == pytest.approx(b.to_list(), rel=max(1e-3, most), abs=1e-6), name
    assert ours.summary["accuracy.test"] == pytest.approx(theirs.summary["accuracy.test"], abs=0.02)


@pytest.mark.parametrize(
    ("workers", "options"),
    [
        pytest.param(2, ["metrics=[norms,histograms]"], id="2 workers"),
        pytest.param(3, EVERYTHING, id="3, all options", marks=pytest.mark.slow),
    ],
)
def test_workers_come_to_what_one_process_does(workers, options, overrides, launch, command, tmp_path) -> None:
    command(*overrides, *options, "kernels=torch")
    output = output_of(launch(*overrides, *options, workers=workers))
    alone, together = all_runs(tmp_path / "logs")
    assert_near(together, alone)
    assert output.count("test accuracy") == 1
    assert f"workers {workers} share each batch, BatchNorm uses the images of all workers" in output
    assert (together.folder / "console.log").read_text() in output
    assert together.summary["images"] == alone.summary["images"] == 4 * 209


@pytest.fixture(scope="module")
def long_run(overrides) -> list[str]:
    """Some seconds of training, so that there is time for something to happen."""
    return [*overrides[:-2], "train_batch_size=16", "epochs=8"]


@pytest.fixture
def undisturbed(long_run, launch, tmp_path) -> Run:
    output_of(launch(*long_run, "--quiet"))
    return only_run(tmp_path)


def at_work(launcher: subprocess.Popen, tmp_path: Path, points: int) -> list[psutil.Process]:
    """The workers, once they have recorded so many points more."""
    logs = tmp_path / "logs"
    there = metrics_saved(logs)
    wait_for(lambda: metrics_saved(logs) > there + points, launcher, 180)
    return workers_of(launcher)


def assert_same_bits(ours: Run, theirs: Run) -> None:
    """Of the weights and of every point but times, each of which is there once."""
    expected = weights(theirs)
    assert all(torch.equal(value, expected[name]) for name, value in weights(ours).items())
    exact = [name for name in theirs.metrics if not name.startswith("time.")]
    assert ours.metrics[exact].equals(theirs.metrics[exact])
    steps = [step for line in read_log(ours.folder / "log.jsonl") for step, _ in line["track"].get("loss.train", [])]
    assert len(steps) == len(set(steps))
    assert ours.summary["accuracy.test"] == theirs.summary["accuracy.test"]


def test_a_killed_worker_is_replaced_and_nothing_is_lost(long_run, launch, undisturbed, tmp_path) -> None:
    """torchrun starts all anew; they go on from the last checkpoint, to the bits of a run that was not disturbed."""
    launcher = launch(*long_run, options=("--max-restarts=1",))
    at_work(launcher, tmp_path, 25)[1].kill()
    output = output_of(launcher)
    found = all_runs(tmp_path / "logs")
    assert len(found) == 2 and found[0].uuid == undisturbed.uuid
    assert_same_bits(found[1], undisturbed)
    assert output.count("error: ") == 1
    assert "another worker ended or did not answer; resume from the last checkpoint with: torchrun" in output
    assert f"resuming run {found[1].uuid[:8]}" in output


@pytest.mark.slow
def test_any_of_three_may_be_killed(long_run, launch, tmp_path) -> None:
    """The first, which records, and then the last. With three, the order in which gradients are added matters."""
    options = [*EVERYTHING[:4], "micro_batch_size=8"]
    output_of(launch(*long_run, *options, "--quiet", workers=3))
    launcher = launch(*long_run, *options, options=("--max-restarts=2",), workers=3)
    at_work(launcher, tmp_path, 25)[0].kill()
    at_work(launcher, tmp_path, 25)[2].kill()
    output_of(launcher)
    undisturbed, killed = all_runs(tmp_path / "logs")
    assert_same_bits(killed, undisturbed)


@pytest.mark.slow
def test_a_stop_is_agreed_on_and_another_number_of_workers_goes_on(long_run, launch, command, tmp_path) -> None:
    """SIGTERM to one worker alone: all stop after the same update. Then 3 go on, then one process."""
    command(*long_run, "kernels=torch", "name=alone", "--quiet")
    launcher = launch(*long_run, "name=several")
    at_work(launcher, tmp_path, 15)[1].send_signal(signal.SIGTERM)
    output = output_of(launcher, status=1)
    several = next(r for r in all_runs(tmp_path / "logs") if r.info["name"] == "several")
    assert output.count("interrupted: ") == 1
    assert f"torchrun --nproc-per-node=2 experiment.py resume {several.uuid}" in output
    launcher = launch("resume", several.uuid, workers=3)
    at_work(launcher, tmp_path, 15)
    launcher.terminate()
    launcher.communicate(timeout=60)
    assert several.status == "interrupted"
    command("resume", several.uuid)
    alone = next(r for r in all_runs(tmp_path / "logs") if r.info["name"] == "alone")
    assert_near(several, alone, 1e-2)


@pytest.mark.slow
def test_all_workers_go_back_together_when_the_loss_is_no_number(long_run, launch, command, tmp_path) -> None:
    """As one process does: to the same update each time, and three times at most."""
    hot = ["optimizer.optimizer=SGD", "optimizer.learning_rate=100", "gradient_clip=none", "schedule=constant"]
    words = [*long_run, *hot, "on_nan=rewind"]
    alone = command(*words, "kernels=torch", status=1)
    output = output_of(launch(*words), status=1)
    again = re.findall(r"going back to update \d+, with [\d.]+ times", alone.stdout)
    assert len(again) == 3 and re.findall(r"going back to update \d+, with [\d.]+ times", output) == again
    assert "after going back 3 times; train a new run with a smaller optimizer.learning_rate" in alone.stderr
    assert output.count("after going back 3 times") == 1


@pytest.mark.slow
def test_a_worker_that_hangs_is_given_up(long_run, launch, tmp_path) -> None:
    """One that is stopped (SIGSTOP) answers nothing, and no connection closes: the others wait, but not for ever."""
    launcher = launch(*long_run[:-1], "epochs=400")
    hanging = at_work(launcher, tmp_path, 15)[1]
    hanging.suspend()
    began = time.monotonic()
    output = output_of(launcher, status=1)
    assert "another worker ended or did not answer" in output
    assert time.monotonic() - began < 100  # 25 s of silence, and torchrun's 30 s between SIGTERM and SIGKILL


@pytest.mark.slow
def test_two_machines(overrides, launch, command, tmp_path) -> None:
    """Two torchruns that meet by c10d, with a worker and two workers; here on one machine."""
    command(*overrides, "kernels=torch")
    meeting = ("--nnodes=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:29533", "--rdzv-id=together")
    launchers = [launch(*overrides, options=meeting) for _ in range(2)]
    outputs = [output_of(launcher) for launcher in launchers]
    alone, together = all_runs(tmp_path / "logs")
    assert_near(together, alone)
    assert "".join(outputs).count("test accuracy") == 1
    assert "job:together" in together.info["tags"]


@pytest.mark.slow
def test_what_is_wrong_is_said_once(launch, overrides, tmp_path) -> None:
    output = output_of(launch(*overrides[:2], "data.validation=2", workers=3), status=1)
    assert output.count("error: ") == 1
    assert "error: overrides: data.validation=2 is too small: each of the 3 workers needs an image\n" in output
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_what_only_the_first_worker_can_know_is_said_once_too(launch, tmp_path) -> None:
    output = output_of(launch("resume", "nothing"), status=1)
    assert output.count("error: ") == 1
    assert f"error: there are no runs in {tmp_path / 'logs'}\n" in output


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has what torchrun tells the first of two workers, and a store."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    told = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    for name, value in (told | {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RUN_ID": uuid.uuid4()}).items():
        monkeypatch.setenv(name, str(value))
    forget()
    yield
    forget()


def forget() -> None:
    torchrun._store.cache_clear()
    torchrun.claim_error_message.cache_clear()


@pytest.mark.parametrize("words", [["sweep", "d_model=8,16"], ["evaluate", "last"], ["configs"], ["check"]])
@pytest.mark.usefixtures("one_of_two", "here")
def test_commands_for_one_process_are_refused(words, refusal) -> None:
    assert f"{words[0]} runs in one process: start it with python, not with torchrun" in refusal(words)


@pytest.mark.usefixtures("one_of_two", "here")
def test_several_seeds_are_refused(refusal) -> None:
    assert "seeds works in one process" in refusal(["seeds=2"])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("at_once", [None, 1, 5, 64])
def test_every_image_of_a_batch_is_one_workers(count, at_once) -> None:
    for n in (1, 2, 13, 64):
        taken = [[range(n)[part] for part in Workers(rank, count).parts(n, at_once)] for rank in range(count)]
        assert sorted(i for parts in taken for part in parts for i in part) == list(range(n))
        for parts in zip(*taken, strict=True):
            sizes = [len(part) for part in parts]
            assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1


@pytest.mark.slow
def test_values_that_are_set_change_in_all_workers(launch, overrides, command, tmp_path) -> None:
    """`stop=true` ends all of them; changed in one alone, they would wait for each other for ever."""
    together = launch(*overrides[:-2], "epochs=2000", "train_batch_size=13")
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 3, together)
    assert "(was 0.01)" in command("set", "last", "optimizer.learning_rate=0.002").stdout
    assert "steps=" in command("set", "last", "stop=true").stdout
    output = output_of(together)
    run = only_run(tmp_path)
    assert run.status == "completed" and len(run.summary["changes"]) == 2
    assert output.count("optimizer.learning_rate=0.002 (was 0.01)") == 1
