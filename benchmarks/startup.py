"""From `python experiment.py ...` to the first training step, with cached data: how long, and where it goes.

    python -m benchmarks.startup KEY=VALUE ... [--rounds 5]

Each round is a fresh process that does what the command `train` does, up to the end of the first update.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import tables

STAGES = """
import json, sys, time
marks = [("Python itself", time.time())]
def mark(name): marks.append((name, time.time()))
import torch; mark("import torch")
from convmixer.experiment.recording import RecordedTraining; from convmixer.experiment.running import run_recorded
from convmixer.commands.shared import check_given; from convmixer.configs import Configs
from convmixer.configs.building import build; from convmixer.tracking.labml_fixes import use_project_folder
mark("import the rest")
use_project_folder()
conf = Configs(); conf.override(check_given(Configs, sys.argv[1:], None)); mark("overrides")
conf.data.dataset; mark("data set, from its cache")
conf.optimizer; mark("model and optimizer")
experiment = build(conf); mark("batches and checks")
class Stop(Exception): pass
def stop(self, trainer): mark("run folder and first update"); raise Stop
RecordedTraining.stepped = stop
try: run_recorded(experiment, conf, quiet=True)
except Stop: pass
print(json.dumps(marks))
"""


def measure(overrides: list[str], folder: Path) -> dict[str, float]:
    """Seconds of each stage in one fresh process."""
    started = time.time()
    command = [sys.executable, "-c", STAGES, *overrides]
    root = Path(__file__).parents[1]
    ended = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    marks = json.loads(ended.stdout.splitlines()[-1])
    times = [started, *(at for _, at in marks)]
    return {name: now - before for (name, _), before, now in zip(marks, times, times[1:], strict=False)}


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    overrides = [_absolute(o) for o in arguments.overrides]
    with tempfile.TemporaryDirectory() as folder:
        measure(overrides, Path(folder))  # fills the cache
        rounds = [measure(overrides, Path(folder)) for _ in range(arguments.rounds)]
    stages = {name: [seconds[name] for seconds in rounds] for name in rounds[0]}
    stages["all"] = [sum(seconds.values()) for seconds in rounds]
    rows = [
        {"stage": name, "seconds": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
        for name, seconds in stages.items()
    ]
    for row in rows:
        print("{stage:<28}{seconds:6.2f} s  ({min:.2f} to {max:.2f})".format(**row))
    if arguments.csv:
        tables.put(arguments.csv, [{k: v if k == "stage" else f"{v:.3f}" for k, v in row.items()} for row in rows])


def _absolute(override: str) -> str:
    name, _, value = override.partition("=")
    return f"{name}={Path(value).resolve()}" if name == "data.path" else override


if __name__ == "__main__":
    main()
