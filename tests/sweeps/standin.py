"""Stands for a training where the driver of sweeps is what is tested: starts at once, and fails when it is told to.

standin.py train x=0.3 fate=ok seed=0 --quiet | resume UUID --quiet      as a run is started by a sweep
standin.py drive '{"trials": 8, ...}'                                     a whole sweep of such runs

Its accuracy after epoch e is 1 - (x - 0.3)² - 0.1 / e, and 0.01 more for each seed.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

EPOCHS = 5
FATES = ("ok", "nan", "crash", "killed", "silent", "flaky", "hangs", "prints", "full")
MEGABYTES = 100  # that a run prints whose fate it is


def train(folder: Path, settings: dict[str, str], first: int) -> None:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    write(folder / "settings.json", json.dumps(settings))
    seconds = float(os.environ.get("STANDIN_SECONDS", "0"))
    with open(folder / "log.jsonl", "a") as log:
        for epoch in range(first, EPOCHS + 1):
            time.sleep(seconds / EPOCHS)
            x, seed, fate = float(settings["x"]), int(settings["seed"]), settings.get("fate", "ok")
            accuracy = 1 - (x - 0.3) ** 2 - 0.1 / epoch + 0.01 * seed
            if epoch == 3 and (fate != "flaky" or first == 1):
                meet(fate)
            point = {"accuracy.valid": [[epoch, [accuracy]]], "loss.train": [[epoch, [1 / epoch]]]}
            log.write(json.dumps({"track": point, "time": time.time()}) + "\n")
            log.flush()
            write(folder / "checkpoints" / "last.pt", str(epoch))
    value = float("nan") if fate == "nan" else accuracy
    write(folder / "summary.json", json.dumps({"accuracy.valid": value, "accuracy.test": 0.5}))


def write(file: Path, text: str) -> None:
    """As real runs do: there is a whole file at any moment."""
    aside = file.with_name(f".{file.name}")
    aside.write_text(text)
    aside.rename(file)


def meet(fate: str) -> None:
    if fate == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "silent":
        sys.exit(3)
    if fate == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    if fate == "prints":
        for _ in range(MEGABYTES):
            sys.stdout.write(("x" * 99 + "\n") * 10_000)
        sys.exit("error: that was much")
    if fate == "full":
        sys.exit("error: the disk is full (log.jsonl); go on from the last checkpoint with: ...")
    if fate in ("crash", "flaky"):
        sys.exit("error: the loss became inf within the last 7 images")


def drive(settings: dict) -> None:
    """A sweep over x, or what else is asked for, driven as `experiment.py sweep` does."""
    from convmixer.project import logs_folder
    from convmixer.sweeps import search, storage
    from convmixer.sweeps.executors import LocalExecutor
    from convmixer.sweeps.live import Screen
    from convmixer.sweeps.report import write
    from convmixer.sweeps.space import Space
    from convmixer.sweeps.study import Limits, Search, Sweep
    from convmixer.sweeps.trial import Plan

    name = settings.get("name", "standin")
    folder = storage.sweeps_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    space = Space(settings.get("fixed", {}), tuple(parameters(settings.get("space", {"x": "uniform(0,1)"}))))
    objective = search.objective(settings.get("objective", "accuracy.valid"), None)
    seeds = tuple(range(settings.get("seeds", 1)))
    kept = {**space.describe(), "objective": objective.metric, "direction": objective.direction}
    executor = settings.get("executor") or LocalExecutor(Path(__file__), settings.get("jobs", 2), [])
    with storage.lock(folder):
        study = storage.create(name, settings.get("storage"), objective, {**kept, "seeds": seeds}, "standin.py")
        retry, stall = settings.get("retry", 0), settings.get("stall", float("inf"))
        plan = Plan(name, folder, logs_folder(), space, objective, seeds, retry, stall)
        how = Search(settings.get("sampler", "tpe"), settings.get("pruner", "none"), settings.get("seed", 0))
        sweep = Sweep(study, plan, how, Limits(settings["trials"], settings.get("seconds")), executor)
        if settings.get("screen"):
            with Screen(sweep, executor.width(), quiet=False) as screen:
                sweep.run(screen)
        else:
            sweep.run(settings.get("watcher") or Nobody())
        if settings.get("report"):
            write(study)


def parameters(space: dict[str, str]) -> list:
    """Of keys that no `Configs` has to know."""
    from convmixer.configs.keys import Key, Knob
    from convmixer.sweeps.space_text import read_space

    kinds = {"x": float, "fate": str, "n": int}
    choices = {"fate": FATES}
    keys = {name: Key(name, kind, None, (), Knob("", choices=choices.get(name, ()))) for name, kind in kinds.items()}
    return list(read_space(space, keys, "test").parameters)


class Nobody:
    """Watches a sweep without a word."""

    def ended(self, trial: object) -> None:
        pass

    def looked(self, active: object) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[1] == "drive":
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        drive(json.loads(sys.argv[2]))
    elif sys.argv[1] == "resume":
        (found,) = Path("logs").glob(f"*/{sys.argv[2]}")
        train(
            found,
            json.loads((found / "settings.json").read_text()),
            int((found / "checkpoints/last.pt").read_text()) + 1,
        )
    else:
        given = dict(word.split("=") for word in sys.argv[2:-1])
        train(Path("logs/standin") / os.environ["RUN_UUID"], {"x": "0.3", **given}, 1)
