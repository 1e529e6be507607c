"""What a sweep costs beside its trainings, and whether it finds what it looks for.

python -m benchmarks.sweeps overhead                  seconds a trial beside `python -c "import torch, labml"`
python -m benchmarks.sweeps search                    TPE with pruning against random search at twice the epochs
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna

from benchmarks import tables
from convmixer.sweeps import search, storage
from convmixer.sweeps.executors import Executor, LocalExecutor, Task
from convmixer.sweeps.space import Space
from convmixer.sweeps.space_text import read_space
from convmixer.sweeps.study import Limits, Search, Sweep
from convmixer.sweeps.trial import ActiveTrial, Plan

TRIALS = 200
EMPTY = '''\
"""An empty training: the imports of a training, a run folder with a result, nothing else."""
import json, os, sys
import torch, labml
folder = os.path.join("logs", "empty", os.environ["RUN_UUID"])
os.makedirs(folder)
x = float(sys.argv[2].split("=")[1])
with open(os.path.join(folder, "log.jsonl"), "w") as log:
    log.write(json.dumps({"track": {"accuracy.valid": [[1, [x]]]}}) + "\\n")
with open(os.path.join(folder, "summary.json"), "w") as file:
    json.dump({"accuracy.valid": x}, file)
os._exit(0)
'''
IMPORTS = "import os, torch, labml; os._exit(0)"


class Nobody:
    """Watches a sweep without a word."""

    def ended(self, trial: object) -> None:
        pass

    def looked(self, active: list[ActiveTrial]) -> None:
        pass


def sweep(space: Space, how: Search, trials: int, executor: Executor, poll: float = 0.05) -> optuna.Study:
    """A whole sweep in the present folder, as the command drives it."""
    folder = storage.sweeps_folder() / "benchmark"
    folder.mkdir(parents=True)
    objective = search.objective("accuracy.valid", None)
    settings = {**space.describe(), "objective": objective.metric, "direction": "maximize", "seeds": [0]}
    study = storage.create("benchmark", None, objective, settings)
    plan = Plan("benchmark", folder, Path("logs"), space, objective, (0,))
    Sweep(study, plan, how, Limits(trials), executor, poll).run(Nobody())
    return study


def overhead(trials: int) -> tables.Row:
    """Print what an empty training takes in a sweep, and beside the start of Python with the same imports."""
    Path("empty.py").write_text(EMPTY)
    alone = [_seconds([sys.executable, "-c", IMPORTS]) for _ in range(10)]
    started = time.perf_counter()
    study = sweep(_unit_space(1), Search(), trials, LocalExecutor(Path("empty.py").resolve(), 1, []))
    each = (time.perf_counter() - started) / trials
    alone += [_seconds([sys.executable, "-c", IMPORTS]) for _ in range(10)]
    assert len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == trials
    imports = statistics.median(alone)
    print(f"{trials} empty trials, one after another, TPE, SQLite: {each:.3f} s each")
    print(f'python -c "import torch, labml": {imports:.3f} s (median of {len(alone)}, before and after)')
    print(f"overhead: {each - imports:.3f} s a trial")
    return {"what": "seconds a trial of an empty training", "value": f"{each:.3f}", "beside": f"{imports:.3f}"}


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return time.perf_counter() - started


def _unit_space(dimensions: int) -> Space:
    from convmixer.configs.keys import Key, Knob

    keys = {f"x{i}": Key(f"x{i}", float, None, (), Knob("")) for i in range(dimensions)}
    return read_space(dict.fromkeys(keys, "uniform(0,1)"), keys, "benchmark")


EPOCHS = 9
DIMENSIONS = 4


class Analytic:
    """Trains nothing: a learning curve from a formula, an epoch at each look.

    The final accuracy falls off with the distance from an optimum, steeply in two of the four keys; curves rise
    towards it at the same rate, with noise of 0.005 from epoch to epoch.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.optimum = random.uniform(0.2, 0.8, DIMENSIONS)
        self.weights = np.array([1.0, 0.6, 0.1, 0.02])
        self.noise = random

    def free(self) -> int:
        return 1

    def width(self) -> int:
        return 1

    def start(self, task: Task) -> "Curve":
        point = [float(word.split("=")[1]) for word in task.arguments[1 : 1 + DIMENSIONS]]
        final = 0.95 - float(self.weights @ (np.array(point) - self.optimum) ** 2)
        return Curve(Path("logs/analytic") / task.uuid, final, self.noise)

    def close(self) -> None:
        pass


class Curve:
    """A run of the stand-in; what it writes is what a real run writes."""

    def __init__(self, folder: Path, final: float, noise: np.random.Generator) -> None:
        folder.mkdir(parents=True)
        self.folder, self.final, self.noise = folder, final, noise
        self.epoch, self.stopped = 0, False

    def poll(self) -> int | None:
        if self.stopped:
            return 143
        self.epoch += 1
        value = self.final - 0.5 * 0.6**self.epoch + self.noise.normal(0, 0.005)
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps({"track": {"accuracy.valid": [[self.epoch, [value]]]}}) + "\n")
        if self.epoch < EPOCHS:
            return None
        (self.folder / "summary.json").write_text(json.dumps({"accuracy.valid": self.final}))
        return 0

    def stop(self) -> None:
        self.stopped = True


def compare(seeds: int, trials: int) -> tables.Row:
    """Print the best that random search finds in `trials` full runs, and TPE with pruning in half the epochs."""
    rows = []
    for seed in range(seeds):
        random = best_within(seed, Search("random", "none", seed), trials, trials * EPOCHS)
        tpe = best_within(seed, Search("tpe", "median", seed), 2 * trials, trials * EPOCHS // 2)
        rows.append((random, tpe))
        print(f"seed {seed:2}: random {random:.4f}, TPE with median pruning at half the epochs {tpe:.4f}", flush=True)
    random, tpe = zip(*rows, strict=True)
    wins = sum(t >= r for r, t in rows)
    for name, values in (("random", random), ("TPE, half the epochs", tpe)):
        print(f"{name:21} {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}")
    print(f"at least as good in {wins} of {seeds}; the best possible is 0.95")
    what = f"TPE with half the epochs, at least as good as random search in {wins} of {seeds}"
    return {"what": what, "value": f"{statistics.mean(tpe):.4f}", "beside": f"{statistics.mean(random):.4f}"}


def best_within(seed: int, how: Search, trials: int, epochs: int) -> float:
    """The best complete trial within a budget of epochs, trials counted in their order."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        study = sweep(_unit_space(DIMENSIONS), how, trials, Analytic(seed), poll=0)
        best, spent = 0.0, 0
        for trial in study.trials:
            spent += trial.last_step
            if spent <= epochs and trial.state == optuna.trial.TrialState.COMPLETE:
                best = max(best, trial.value)
        assert spent >= epochs, "the trials did not use their budget"
        os.chdir("/")
    return best


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=("overhead", "search"))
    arguments.add_argument("--trials", type=int, help="overhead: 200; search: 30")
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--csv", type=lambda name: Path(name).resolve())
    given = arguments.parse_args()
    if given.what == "search":
        row = compare(given.seeds, given.trials or 30)
    else:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            row = overhead(given.trials or TRIALS)
            os.chdir("/")
    if given.csv:
        tables.put(given.csv, [row], key=("command",))


if __name__ == "__main__":
    main()
