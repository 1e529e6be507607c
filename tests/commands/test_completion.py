"""Words are completed in the shell: commands, options, keys and what they take, and runs."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from conftest import EXPERIMENT
from run_folders import make_run

from convmixer.cli import command_line
from convmixer.commands.completion import joined
from convmixer.configs import Configs


class MyConfigs(Configs):
    share: float = 1.0


def completed(words: str, configs_class: type | None = None) -> list[str]:
    """What the last word of the line can become."""
    *args, incomplete = words.split(" ")
    completion = ShellComplete(command_line, {"obj": configs_class}, "experiment.py", "_EXPERIMENT_PY_COMPLETE")
    return [item.value for item in completion.get_completions(args, incomplete)]


@pytest.fixture(autouse=True)
def runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs, a file of weights, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    for uuid in ("a1b2c3d4e5f60718", "b1b2c3d4e5f60718"):
        make_run(here / "logs", uuid)
    (here / "mine.safetensors").write_text("")
    (here / "pictures").mkdir()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ev", ["evaluate"]),
        ("epo", ["epochs="]),
        ("train epochs=3 sched", ["schedule="]),
        ("epochs=3 schedule=c", ["schedule=cosine", "schedule=constant"]),
        ("compile=", ["compile=true", "compile=false"]),
        ("data.path=pic", ["data.path=pictures/"]),
        ("pretrained=a", ["pretrained=a1b2c3d4"]),
        ("evaluate ", ["last", "best", "b1b2c3d4", "a1b2c3d4", "logs/", "mine.safetensors", "pictures/"]),
        ("evaluate m", ["mine.safetensors"]),
        ("resume b", ["best", "b1b2c3d4"]),
        ("resume b1b2c3d4e", ["b1b2c3d4e5f60718"]),
        ("predict best pic", ["pictures/"]),
        ("runs sh", ["show"]),
        ("runs show a", ["a1b2c3d4"]),
        ("runs status=c", ["status=completed", "status=crashed"]),
        ("runs rm d_m", ["d_model="]),
        ("runs list --s", ["--sort"]),
        ("sweep sh", ["show"]),
        ("sweep d_m", ["d_model="]),
        ("configs --diff a", ["a1b2c3d4"]),
        ("train --q", ["--quiet"]),
        ("xyzzy abc", []),
    ],
)
def test_words(line: str, expected: list[str]) -> None:
    found = completed(line)
    assert [word for word in found if word not in ("cache/",)] == expected


def test_keys_of_ones_own_script_are_completed_too() -> None:
    assert completed("sha", MyConfigs) == ["share="] and completed("sha") == []


def test_without_runs_or_with_a_damaged_folder_nothing_breaks(here: Path) -> None:
    shutil.rmtree(here / "logs")
    assert completed("resume ") == ["last", "best"]
    (here / ".labml.yaml").write_text("{")
    assert completed("resume ") == ["last", "best"]


def test_bash_takes_a_key_for_three_words() -> None:
    assert joined(["train", "epochs", "=", "3", "schedule", "=", "co"]) == ["train", "epochs=3", "schedule=co"]
    assert joined(["a", "="]) == ["a="] and joined([""]) == [""]


def test_completing_imports_no_torch_once_the_keys_are_known() -> None:
    assert completed("epo") == ["epochs="]  # which writes the keys down
    code = (
        "import os, sys; os.environ |= {'COMP_WORDS': 'experiment.py epo', 'COMP_CWORD': '1'};"
        "from convmixer.cli import command_line;"
        "from click.shell_completion import shell_complete;"
        "shell_complete(command_line, {'obj': None}, 'experiment.py', '_X', 'bash_complete');"
        "sys.exit('torch' in sys.modules or 'labml' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(EXPERIMENT.parent)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "plain,epochs=\n"), ended.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_in_bash_itself(here: Path) -> None:
    """As typed after `python experiment.py`: Tab twice where several words are possible."""
    shutil.copy(EXPERIMENT, here)
    source = (
        f'PATH={Path(sys.executable).parent}:$PATH; eval "$(_EXPERIMENT_PY_COMPLETE=bash_source python experiment.py)"'
    )
    environment = os.environ | {"PYTHONPATH": str(EXPERIMENT.parent), "TERM": "dumb", "PS1": "$ "}
    completed("epo")
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("bash", ["bash", "--norc", "-i"], environment)
    try:
        seen = typed(terminal, f"{source}; echo re''ady\n", "ready")
        seen += typed(terminal, "python experiment.py epo\t", "epochs=")
        seen += typed(terminal, "3 resume=\x15python experiment.py schedule=p\t", "schedule=paper ")
        seen += typed(terminal, "\x15./experiment.py evaluate a1\t", "a1b2c3d4 ")
    finally:
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(process, 0)


def typed(terminal: int, text: str, until: str) -> str:
    """Type the text, and return what the terminal shows from then on, which must have `until` in it."""
    os.write(terminal, text.encode())
    seen, end = "", time.monotonic() + 30
    while until not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen
