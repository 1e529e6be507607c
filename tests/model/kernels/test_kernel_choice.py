"""The key `kernels`, from the command line to the header, the summary and the checkpoints."""

from collections.abc import Callable

import pytest
from conftest import Command
from kernel_fixtures import native  # noqa: F401

from convmixer.model.kernels import build
from convmixer.tracking.runs import all_runs
from convmixer.training import checkpoints


@pytest.mark.usefixtures("native")
def test_auto_is_native_and_recorded_and_resuming_on_another_path_says_so(
    command: Command, tiny_run_overrides, tmp_path
):
    assert "\nkernels native (" in command(*tiny_run_overrides).stdout
    (run,) = all_runs(tmp_path / "logs")
    name = run.summary["kernels"]
    assert name.startswith("native (")
    assert checkpoints.load(run.checkpoint("last"))["kernels"] == name

    (run.folder / "summary.json").unlink()  # as if it had been stopped after its last checkpoint
    resumed = command("resume", "last", "kernels=torch").stdout
    assert "\nkernels torch\n" in resumed
    assert f"kernels were {name} before, now torch: results may differ in the last bits" in resumed


def test_without_a_compiler_auto_is_torch_and_the_header_says_why_once(command: Command, tiny_run_overrides):
    header = command(*tiny_run_overrides, CXX="no-such-compiler").stdout
    assert header.count("there is no C++ compiler") == 1
    assert "\nkernels torch: there is no C++ compiler (no-such-compiler)\n" in header


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.outcome.cache_clear()
    yield
    build.outcome.cache_clear()


@pytest.mark.usefixtures("no_compiler", "here")
def test_native_that_cannot_be_had_is_refused(refusal: Callable[[list[str]], str], tiny_run_overrides):
    message = refusal([*tiny_run_overrides, "kernels=native"])
    assert "kernels=native: there is no C++ compiler (no-such-compiler); kernels=torch does without" in message


@pytest.mark.usefixtures("here")
def test_native_is_for_float32(refusal: Callable[[list[str]], str], tiny_run_overrides):
    message = refusal([*tiny_run_overrides, "kernels=native", "precision=bfloat16"])
    assert "are for float32 on the CPU, not bfloat16 on cpu" in message
