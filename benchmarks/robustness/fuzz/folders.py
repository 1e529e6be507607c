"""Config files and run folders: spoilt, and read as the package reads them."""

import io
import json
import os
import random
import shutil
from functools import cache
from pathlib import Path

from benchmarks.robustness.fuzz.spoiling import spoil_bytes, spoil_tree, spoil_yaml
from benchmarks.robustness.fuzz.weights import SAMPLE
from convmixer.configs.keys import keys_of
from convmixer.configs.overrides import check, read_config_file
from convmixer.configs.resolving import resolve
from convmixer.configs.schema import Configs
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.records import MODELS, list_item
from convmixer.dashboard.storage import Store
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.runs import compare, differences, run, runs
from convmixer.trained.opening import from_run

CONFIG = """\
recipe: small
epochs: 3
data: {dataset: images, path: ../images, image_size: 32, validation: 100}
augment.ops: [translate, flip, mixup]
augment: {translate: 4, mixup: 0.5}
optimizer:
  learning_rate: 1.0e-3
  betas: [0.9, 0.95]
compile: false
gradient_clip: null
name: &name mine
comment: *name
"""


def config(folder: Path, chance: random.Random) -> None:
    """A file of `--config`."""
    path = folder / "my.yaml"
    path.write_bytes(spoil_yaml(CONFIG, chance))
    keys = _keys()
    resolve(check(read_config_file(path), keys, "--config"), keys)


@cache
def _keys() -> dict:
    return keys_of(Configs)


RUN_FILES = ("run.yaml", "configs.yaml", "log.jsonl", "run_log.jsonl", "summary.json")


def run_folder(folder: Path, chance: random.Random) -> None:
    """A run, listed, plotted, opened, and shown by the dashboard."""
    home = folder / "logs" / "sample" / "ended"
    shutil.copytree(SAMPLE / "sample" / "ended", home)
    for name in chance.sample(RUN_FILES, chance.randint(1, 2)):
        path = home / name
        if chance.randrange(12) == 0:
            replace_by_something_else(path, chance)
        else:
            path.write_bytes(spoil_run_file(path, chance))
    runs(folder / "logs")
    _follow(folder)
    found = run("last", folder / "logs")
    compare([found])
    differences([found, found])
    if chance.randrange(8) == 0:  # which takes most of the time
        learning_curves([found]).savefig(io.BytesIO())
    from_run(found, Configs if chance.randrange(2) else None)


def spoil_run_file(path: Path, chance: random.Random) -> bytes:
    text = path.read_text()
    if path.suffix == ".yaml":
        return spoil_yaml(text, chance)
    if chance.randrange(3) == 0:
        return spoil_bytes(text.encode(), chance)
    if path.suffix == ".json":
        return json.dumps(spoil_tree(json.loads(text), chance)).encode()
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = json.dumps(spoil_tree(json.loads(lines[at]), chance))
    return ("\n".join(lines) + "\n").encode()


def replace_by_something_else(path: Path, chance: random.Random) -> None:
    """A FIFO, a folder, or a link to where nothing of the run is."""
    path.unlink()
    kind = chance.randrange(4)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    else:
        path.symlink_to(("/etc/passwd", path)[kind - 2])


def _follow(folder: Path) -> None:
    """What the dashboard makes of it."""
    follower = Follower(folder / "logs", Store(folder / "dashboard.sqlite"))
    follower.look()
    for followed in follower.runs.values():
        followed.read_configs()
        list_item(followed)
        for read, _ in (MODELS[name] for name in ("Run", "Status", "RunStatus", "MetricsModel", "StdOutModel")):
            read(followed, "")
