"""`python experiment.py ...` as a process: what a run leaves, and that it can always be gone on with."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from conftest import EXPERIMENT, PROJECT, metrics_saved, wait_for
from published import write_tree
from run_folders import assert_same_result, only_run, weights

from convmixer.tracking.runs import Run, all_runs, run


def test_a_run_is_trained_tracked_checkpointed_and_tested(command, tiny_run_overrides, tmp_path) -> None:
    output = command(*tiny_run_overrides, "comment=first try").stdout
    trained = only_run(tmp_path)

    assert re.search(r"^test accuracy +\d+\.\d\d% of 60 images of tiny", output, re.MULTILINE)
    assert len(re.findall(r"^epoch ", output, re.MULTILINE)) == 3
    assert (trained.folder / "console.log").read_text() in output

    assert trained.status == "completed"
    assert trained.info["name"] == "tiny-small" and trained.info["comment"] == "first try"
    names = {"loss.train", "accuracy.train", "loss.valid", "accuracy.valid", "time.images_per_second"}
    names |= {"optim.lr", "optim.muon_lr"}
    assert names <= set(trained.metrics.columns)
    assert trained.metrics.index[-1] == 3 * 210  # training images seen

    summary = trained.summary
    assert summary["data"] == "tiny" and summary["epochs"] == 3
    assert summary["accuracy.test"] > 0.6
    assert summary["configs"]["d_model"] == 8 and summary["configs"]["n_classes"] == 3
    assert (trained.folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_real_photographs_are_learned(command, cifar10_files, tmp_path) -> None:
    """A hundred CIFAR-10 training images of each class, from a .zip: well above chance within seconds."""
    tree = write_tree(cifar10_files, tmp_path / "some", train=100, test=10)
    shutil.make_archive(str(tree), "zip", tree)
    command("data.dataset=images", "data.path=some.zip", "data.validation=100", "d_model=32", "n_layers=4", "epochs=12")
    summary = only_run(tmp_path).summary
    assert summary["data"] == "some"
    assert summary["accuracy.valid"] > 0.2


def test_the_process_ends_at_once(start, tiny_run_overrides, tmp_path) -> None:
    """With no dashboard configured, labml has nothing to wait for."""
    process = start(*tiny_run_overrides)
    wait_for(lambda: any((tmp_path / "logs").glob("*/*/summary.json")), process)
    process.communicate(timeout=10)
    assert process.returncode == 0


@pytest.mark.slow
def test_a_compiled_run_learns_too(command, tiny_run_overrides, tmp_path) -> None:
    command(*tiny_run_overrides, "compile=true")
    assert only_run(tmp_path).summary["accuracy.test"] > 0.6


def test_labml_records_what_was_given_what_was_default_and_which_are_hyperparameters(
    command, tiny_run_overrides, tmp_path
) -> None:
    command(*tiny_run_overrides)
    trained = only_run(tmp_path)
    configs = yaml.safe_load((trained.folder / "configs.yaml").read_text())
    assert configs["d_model"]["value"] == 8
    assert configs["d_model"]["is_explicitly_specified"] and configs["d_model"]["is_hyperparam"]
    assert configs["optimizer.learning_rate"]["value"] == 0.01
    assert not configs["optimizer.learning_rate"]["is_explicitly_specified"]
    assert configs["schedule"]["value"] == "cosine" and configs["schedule"]["options"]
    assert not configs["device"]["is_hyperparam"]
    given = dict(pair.split("=") for pair in tiny_run_overrides)
    assert trained.given.keys() == given.keys()


def test_piped_output_is_plain_and_quiet_is_silent(command, tiny_run_overrides) -> None:
    output = command(*tiny_run_overrides)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", output.stdout + output.stderr)
    quiet = command(*tiny_run_overrides, "--quiet")
    assert quiet.stdout == "" and quiet.stderr == ""


def test_a_terminal_shows_a_bar(run_of_30_epochs, tmp_path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, str(EXPERIMENT), *run_of_30_epochs]
    wide = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=tmp_path, env=wide, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    seen = b""
    while chunk := _read(master):
        seen += chunk
    assert process.wait() == 0
    assert "━".encode() in seen and b"test accuracy" in seen
    assert re.search(rb"epoch \d+/30  loss \d\.\d+  accuracy \d+\.\d%  [\d,]+ images/s", seen)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end was closed
        return b""


def test_the_same_command_twice_gives_the_same_bits(command, tiny_run_overrides, tmp_path) -> None:
    command(*tiny_run_overrides)
    command(*tiny_run_overrides)
    first, second = all_runs(tmp_path / "logs")
    assert_same_result(first, second)
    command(*tiny_run_overrides, "seed=1")
    other = weights(run("last", tmp_path / "logs"))
    assert not torch.equal(other["patch_emb.conv.weight"], weights(first)["patch_emb.conv.weight"])


@pytest.fixture(scope="module")
def long_run_overrides(tiny_run_overrides) -> list[str]:
    """Overrides under which there is time to stop a run."""
    return [o for o in tiny_run_overrides if not o.startswith(("epochs", "train_batch_size"))] + [
        "epochs=150",
        "train_batch_size=16",
    ]


@pytest.fixture(scope="module")
def run_of_30_epochs(long_run_overrides) -> list[str]:
    """Overrides of a run that can still be stopped, and ends soon."""
    return [o for o in long_run_overrides if not o.startswith("epochs")] + ["epochs=30"]


@pytest.fixture(scope="module")
def uninterrupted(long_run_overrides, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("uninterrupted")
    command = [sys.executable, str(EXPERIMENT), *long_run_overrides, "--quiet"]
    subprocess.run(command, cwd=folder, check=True)
    return only_run(folder)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
    ids=lambda n: n.name,
)
def test_stopped_and_resumed_is_as_if_it_had_not_stopped(
    number, start, command, uninterrupted, long_run_overrides, tmp_path
) -> None:
    process = start(*long_run_overrides)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 25, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    stopped = only_run(tmp_path)
    assert not stopped.summary
    if number == signal.SIGKILL:
        assert process.returncode == -9 and stopped.status == "killed"
    else:
        assert process.returncode == 128 + number and stopped.status == "interrupted"
        assert errors.startswith("interrupted: ") and errors.count("\n") == 1
        assert f"experiment.py resume {stopped.uuid}" in errors

    command("resume", "last", "valid_batch_size=30")
    resumed = only_run(tmp_path)
    assert resumed.status == "completed"
    assert_same_result(resumed, uninterrupted)
    assert "has ended" in command("resume", "last", status=2).stderr


@pytest.mark.slow
def test_resume_says_that_the_number_of_threads_is_another(start, command, run_of_30_epochs, tmp_path) -> None:
    process = start(*run_of_30_epochs)  # with one thread, as conftest.py has it
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 5, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    line = "threads were 1 before, now 2: bits may differ from an unbroken run's"
    assert line in command("resume", "last", OMP_NUM_THREADS="2").stdout
    assert line in (only_run(tmp_path).folder / "console.log").read_text()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may become another user")
def test_another_user_can_resume_nothing_and_changes_nothing(start, long_run_overrides, tmp_path) -> None:
    process = start(*long_run_overrides)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 5, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    command = [sys.executable, str(EXPERIMENT), "resume", "last", "kernels=torch"]
    how = {"cwd": tmp_path, "env": os.environ | {"HOME": "/nowhere"}, "capture_output": True, "text": True}
    try:
        ended = subprocess.run(command, user="nobody", **how)
    except PermissionError:
        pytest.skip("others may not run this Python")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/") and "can't be written" in ended.stderr
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}


def test_resume_refuses_what_would_change_the_result(start, command, long_run_overrides, tmp_path) -> None:
    endless = [*long_run_overrides[:-2], "epochs=5000", "train_batch_size=120"]
    process = start(*endless)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 15, process)
    second = command("resume", "last", status=2)
    assert "another process" in second.stderr
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert "d_model can't be changed" in command("resume", "last", "d_model=16", status=2).stderr
    assert "unknown key" in command("resume", "last", "d_modle=16", status=2).stderr
    assert "there is no run" in command("resume", "fffff", status=2).stderr


def test_killed_after_its_summary_a_run_is_completed(start, command, tiny_run_overrides, tmp_path) -> None:
    """labml notes the end last, after the curves are drawn; all that counts was done by then."""
    process = start(*tiny_run_overrides)
    wait_for(lambda: any((tmp_path / "logs").glob("*/*/summary.json")), process)
    process.kill()
    process.communicate()
    assert only_run(tmp_path).status == "completed"
    assert "completed" in command("runs").stdout
    assert "has ended" in command("resume", "last", status=2).stderr


def test_points_are_on_disk_when_they_are_saved(start, long_run_overrides, tmp_path) -> None:
    """Nothing is kept back in memory: while it trains, the log is seconds behind at most, and its lines are whole."""
    process = start(*long_run_overrides)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 5, process)
    (log,) = (tmp_path / "logs").glob("*/*/log.jsonl")
    assert time.time() - json.loads(log.read_text().splitlines()[-1])["time"] < 5
    assert only_run(tmp_path).status == "running"


def test_a_loss_that_is_not_finite_ends_the_run(command, long_run_overrides, tmp_path) -> None:
    hot = ("optimizer.optimizer=SGD", "optimizer.learning_rate=100", "gradient_clip=none", "schedule=constant")
    ended = command(*long_run_overrides, *hot, status=1)
    assert re.search(r"error: (the loss|a weight) became (nan|inf).* resume [0-9a-f]{32} on_nan=rewind$", ended.stderr)
    assert ended.stderr.count("\n") == 1
    crashed = only_run(tmp_path)
    assert crashed.status == "crashed" and not crashed.summary
    for name in ("last", "best"):
        file = crashed.checkpoint(name)
        if file.exists():
            assert all(t.isfinite().all() for t in weights(crashed, name).values())


def test_minutes_are_measured_into_steps_and_recorded(command, tiny_run_overrides, tmp_path) -> None:
    overrides = [o for o in tiny_run_overrides if not o.startswith("epochs")]
    command(*overrides, "minutes=0.05")
    timed = only_run(tmp_path)
    assert timed.recorded["steps"] == timed.summary["steps"] > 1
    assert 0.3 < timed.summary["seconds"] < 30
    command(*overrides, f"steps={timed.summary['steps']}")
    assert_same_result(run("last", tmp_path / "logs"), timed)


@pytest.mark.slow
def test_seeds_in_one_process_as_on_a_gpu_are_the_same_runs(command, tiny_run_overrides, tmp_path) -> None:
    as_on_a_gpu = tmp_path / "as_on_a_gpu.py"
    lines = (
        "from convmixer import main",
        "from convmixer.commands import seeds",
        "seeds.shares_process = bool",
        "main()",
    )
    as_on_a_gpu.write_text("\n".join(lines))
    for script in (EXPERIMENT, as_on_a_gpu):
        output = command(*tiny_run_overrides, "seeds=2", script=script, PYTHONPATH=str(PROJECT)).stdout
        assert "test accuracy over 2 seeds" in output
    first, second, same_as_first, same_as_second = all_runs(tmp_path / "logs")
    assert_same_result(same_as_first, first)
    assert_same_result(same_as_second, second)


def test_seeds_that_are_stopped_leave_a_run_that_can_be_resumed(start, long_run_overrides, tmp_path) -> None:
    process = start(*long_run_overrides, "seeds=2")
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 5, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    stopped = only_run(tmp_path)
    assert process.returncode == 143 and stopped.status == "interrupted"
    assert f"resume {stopped.uuid}" in errors and stopped.checkpoint("last").exists()


def test_evaluate_measures_the_same_accuracy_again(command, tiny_run_overrides, tiny, tmp_path) -> None:
    command(*tiny_run_overrides)
    accuracy = f"test accuracy {only_run(tmp_path).summary['accuracy.test']:.2%} of 60 images of tiny"
    assert accuracy in command("evaluate", "last").stdout
    assert accuracy in command("evaluate", "best").stdout
    command("export", "last", "--output", "weights.safetensors")
    assert "| test accuracy |" in (tmp_path / "weights.md").read_text()
    data = ("data.dataset=images", f"data.path={tiny}")
    assert accuracy in command("evaluate", "weights.safetensors", *data).stdout
    assert "was trained on" in command("evaluate", "last", "data.dataset=shapes", status=2).stderr


def test_runs_are_listed(command, tiny_run_overrides) -> None:
    assert "there are no runs" in command("runs").stdout
    command(*tiny_run_overrides)
    line = command("runs").stdout.splitlines()[1]
    assert "tiny-small" in line and "completed" in line and "d_model=8" in line


def test_check_overfits_one_batch_or_says_why_not(command, tiny_run_overrides) -> None:
    learned = command("check", *tiny_run_overrides).stdout
    assert re.search(r"^ok: one batch of 32 images is learned after \d+ updates", learned, re.MULTILINE)
    ended = command(
        "check",
        *tiny_run_overrides,
        *(f"optimizer.{name}=1e-9" for name in ("learning_rate", "muon_learning_rate")),
        status=1,
    )
    assert "the loss does not fall" in ended.stderr


def test_without_validation_best_is_last(command, tiny_run_overrides, tmp_path) -> None:
    overrides = [o for o in tiny_run_overrides if not o.startswith("data.validation")]
    command(*overrides, "data.validation=0")
    trained = only_run(tmp_path)
    assert trained.summary["weights"] == "last" and "accuracy.valid" not in trained.summary
    assert trained.metrics.index[-1] == 3 * 240
    assert not trained.checkpoint("best").exists()


def test_cifar10_that_is_not_available_becomes_shapes_with_a_banner(command, tmp_path) -> None:
    """`auto`, with no way to the internet: here a proxy that refuses."""
    offline = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    started = time.monotonic()
    output = command("d_model=8", "n_layers=1", "steps=2", **offline).stdout
    assert time.monotonic() - started < 60
    assert "CIFAR-10" in output and "shapes" in output.split("run  ")[0]
    assert only_run(tmp_path).info["name"] == "shapes-small"
    assert only_run(tmp_path).summary["data"] == "shapes"
    refused = command("data.dataset=cifar10", "steps=2", status=2, **offline)
    assert refused.stderr.count("\n") == 1 and "data.dataset=shapes" in refused.stderr
    torchrun = command("steps=2", status=2, TORCHELASTIC_RUN_ID="x", **offline)
    assert "data.dataset=shapes" in torchrun.stderr


def test_auto_takes_a_tree_in_data_path_as_images(command, tiny, tiny_run_overrides, tmp_path) -> None:
    """`data.dataset=images` may be left out; the run is resumed and evaluated as one on images."""
    overrides = [word for word in tiny_run_overrides if word != "data.dataset=images"]
    command(*overrides)
    assert only_run(tmp_path).info["name"] == "tiny-small"
    assert only_run(tmp_path).summary["data"] == "tiny"
    assert "of 60 images of tiny" in command("evaluate", "last").stdout


def test_a_logs_folder_that_cannot_be_written_is_said_in_one_line(command, tiny_run_overrides, tmp_path) -> None:
    (tmp_path / "logs").write_text("a file in its place")
    ended = command(*tiny_run_overrides, status=2)
    assert "logs" in ended.stderr and ended.stderr.count("\n") == 1


def test_plain_labml_runs_the_same_configs(tmp_path, tiny_run_overrides) -> None:
    """As any labml experiment: create, configs, start, run."""
    values = {key: _typed(text) for key, text in (o.split("=") for o in tiny_run_overrides)}
    (tmp_path / ".labml.yaml").write_text("")
    (tmp_path / "plain.py").write_text(
        f"import sys; sys.path.insert(0, {str(EXPERIMENT.parent)!r})\n"
        "from labml import experiment\n"
        "from convmixer.configs.schema import Configs\n"
        "experiment.create(name='plain', writers={'screen'})\n"
        "conf = Configs()\n"
        f"experiment.configs(conf, {values!r})\n"
        "with experiment.start():\n"
        "    conf.run()\n"
    )
    subprocess.run([sys.executable, "plain.py"], cwd=tmp_path, check=True, timeout=120)
    trained = only_run(tmp_path)
    assert trained.info["name"] == "plain" and trained.status == "completed"
    assert trained.summary["accuracy.test"] > 0.6


def _typed(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
