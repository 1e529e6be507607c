"""What labml 0.5.3 does to a process, and that it no longer does."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import PROJECT


def run_code(code: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


START = """
from pathlib import Path
from labml import experiment, lab, tracker
from convmixer.tracking import labml_fixes
from convmixer.tracking.recorder import Recorder
labml_fixes.apply()
lab.configure({"path": ".", "experiments_path": "logs"})
experiment.create(name="cost", writers=set())
experiment.configs({})
experiment.start()
from labml.internal.experiment import experiment_singleton
recorder = Recorder(Path(experiment_singleton().run.run_path), quiet=True)
recorder.start(0)
"""


def test_a_save_is_in_the_file_at_once_in_labml_s_format(tmp_path: Path) -> None:
    code = START + (
        "recorder.metrics(128, {'loss.train': 1.5, 'accuracy.train': float('nan')})\n"
        "print((recorder.folder / 'log.jsonl').read_text(), end='')"
    )
    line = json.loads(run_code(code, tmp_path).splitlines()[-1])
    assert line["track"]["loss.train"] == [[128, [1.5]]]
    assert str(line["track"]["accuracy.train"]) == "[[128, [nan]]]"
    assert line["time"] > 1e9


def test_printing_keeps_nothing_in_memory_and_labml_prints_nothing(tmp_path: Path) -> None:
    """labml keeps all console output for its app, for ever where there is none."""
    code = START + (
        "from labml.internal.app.logs import APP_CONSOLE_LOGS\n"
        "for i in range(1000): print('x' * 100)\n"
        "assert not APP_CONSOLE_LOGS.data, APP_CONSOLE_LOGS.data\n"
    )
    assert run_code(code, tmp_path) == ("x" * 100 + "\n") * 1000


def test_saves_stay_cheap(tmp_path: Path) -> None:
    """A save costs the same after 20,000 others; generous, as this machine may be busy."""
    code = START + (
        "import time\n"
        "def cost(first):\n"
        "    began = time.process_time()\n"
        "    for i in range(2000):\n"
        "        values = {'loss.train': 1.0, 'accuracy.train': 0.5, 'optim.lr': 0.1, 'norm.weight': 1.0}\n"
        "        recorder.metrics(first + i, values)\n"
        "    return (time.process_time() - began) / 2000\n"
        "early = cost(0)\n"
        "for i in range(8): late = cost(2000 * (i + 1))\n"
        "print(early, late)"
    )
    early, late = map(float, run_code(code, tmp_path).split())
    assert late < 3 * early
    assert late < 500e-6
