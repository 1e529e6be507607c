"""Gives every reader of files inputs that were spoilt on purpose, and sees that each is read or refused in one line.

    python -m benchmarks.fuzz --minutes 10 [--seed 0] [--only checkpoint] [--csv results/fuzz.csv]

Each input begins as a valid file of ours. It is spoilt in its bytes (bits flipped, cut, parts removed, doubled,
swapped or overwritten) or in its structure (values of a YAML, JSON or pickled tree replaced by odd ones, removed or
exchanged, checksums made right again). Among the odd values are pickles and YAML tags that would make a file, the
canary. What must not happen: an exception that is no `UserError`, more than `SECONDS` of time, a file made outside of
the place given, the canary. `tests/test_untrusted.py` does the same for a few seconds.
"""

import argparse
import copy
import csv
import io
import json
import logging
import os
import random
import resource
import shutil
import signal
import struct
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from convmixer.configs import Configs, resolve
from convmixer.data import cache as data_cache
from convmixer.data.batches import Batches
from convmixer.data.image_files import ready_for_threads
from convmixer.data.images import image_folder, labelled_images
from convmixer.data.splits import Split, measured
from convmixer.errors import UserError
from convmixer.exchange import weight_files
from convmixer.exchange.model_card import write_card
from convmixer.exchange.weight_files import load_weights, read_tensors
from convmixer.keys import keys_of
from convmixer.model.layers import conv_mixer
from convmixer.overrides import check, read_config_file
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.dashboard.follower import Follower
from convmixer.tracking.dashboard.records import MODELS, list_item
from convmixer.tracking.dashboard.storage import Store
from convmixer.tracking.runs import compare, differences, run, runs
from convmixer.trained import from_file, from_run
from convmixer.training import checkpoints
from convmixer.training.schedules import cosine
from convmixer.training.trainer import Trainer

PROJECT = Path(__file__).resolve().parents[1]
SAMPLE = PROJECT / "tests" / "formats" / "v1"
SECONDS = 20  # of a core, for one input; twenty times as many by the clock, on a machine that others use too
CANARY = "canary"


class Touch:
    """Makes the canary when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


# --- spoiling ---


def spoil_bytes(content: bytes, chance: random.Random) -> bytes:
    """One to four changes of bytes anywhere."""
    spoilt = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        size = len(spoilt)
        at = chance.randrange(size) if size else 0
        length = min(chance.choice((1, 2, 4, 16, 100, 1000)), size - at)
        kind = chance.randrange(7)
        if kind == 0 and size:
            spoilt[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del spoilt[at:]
        elif kind == 2:
            del spoilt[at : at + length]
        elif kind == 3:
            spoilt[at:at] = spoilt[at : at + length]
        elif kind == 4:
            spoilt[at : at + length] = bytes([chance.choice((0, 0x7F, 0x80, 0xFF))]) * length
        elif kind == 5 and size:
            other = chance.randrange(size)
            spoilt[at : at + length], spoilt[other : other + length] = (
                spoilt[other : other + length],
                spoilt[at : at + length],
            )
        elif kind == 6:
            number = chance.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**16))
            spoilt[at : at + 4] = struct.pack("<i", number)
    return bytes(spoilt)


def nested(depth: int) -> list:
    """Lists within each other."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


ODD: tuple[Callable[[], Any], ...] = tuple(
    (lambda value=value: copy.deepcopy(value))
    for value in (
        *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.0, -1.5, 1e308, 1e-320),
        *(
            float("nan"),
            float("inf"),
            -float("inf"),
            "",
            "x",
            "last",
            "../../../etc/passwd",
            "\x1b[31mred",
            "a\nb",
            "$\\x$",
        ),
        *("\udcff", "x" * 5000, "9" * 3000, "nan", "none", "true", [], {}, [1], [[1, [2.0]]], {"a": 1}, {"": None}),
        *(nested(40), nested(200), [0] * 1000),
    )
)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a tree of dicts and lists."""
    level = [tree]
    while level:
        container = level.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], dict | list):
                level.append(container[key])


def spoil_tree(tree: Any, chance: random.Random, odd: tuple[Callable[[], Any], ...] = ODD) -> Any:
    """One to three values replaced, removed or exchanged; `tree` itself is changed."""
    for _ in range(chance.randint(1, 3)):
        found = list(places(tree))
        if not found or chance.randrange(40) == 0:
            return chance.choice(odd)()
        container, key = chance.choice(found)
        kind = chance.randrange(6)
        if kind < 4:
            container[key] = chance.choice(odd)()
        elif kind == 4:
            del container[key]
        else:
            other, name = chance.choice(found)
            container[key], other[name] = other[name], container[key]
    return tree


# --- what is spoilt, and how it is read ---


@cache
def sample(name: str) -> bytes:
    """A file of the sample runs."""
    return (SAMPLE / name).read_bytes()


def small_trainer() -> Trainer:
    """Of the network of the samples."""
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    split = Split(images, torch.arange(8) % 2)
    data = measured("noise", tuple("abcdefghij"), split, split)
    batches = Batches(split, data, 8, torch.device("cpu"), seed=0)
    model = conv_mixer(4, 1, 5, 8)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": rest}], lr=0.01, fused=True)
    return Trainer(model, optimizer, cosine, batches, None, total_steps=10**9)


@cache
def _own_state() -> bytes:
    """What such a trainer saves after an update."""
    trainer = small_trainer()
    trainer.train_step(next(trainer.train.epoch()))
    buffer = io.BytesIO()
    torch.save(trainer.state_dict() | {"total_steps": 10}, buffer)
    return buffer.getvalue()


def odd_tensors() -> tuple[Callable[[], Any], ...]:
    """Values that a pickle can hold beside those of text."""
    return (
        *ODD,
        lambda: torch.zeros(3),
        lambda: torch.zeros(1).expand(10**12),
        lambda: torch.zeros((0, 4)),
        lambda: torch.full((4,), torch.nan),
        lambda: torch.zeros(4, dtype=torch.complex64),
        lambda: torch.zeros(4, dtype=torch.bool),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.zeros(3, device="meta"),
        lambda: torch.float16,
        Touch,
    )


def checkpoint(folder: Path, chance: random.Random) -> None:
    """A checkpoint, with a right checksum or without, that a trainer goes on from."""
    path = folder / "last.pt"
    kind = chance.randrange(4)
    if kind == 0:
        path.write_bytes(spoil_bytes(sample("sample/interrupted/checkpoints/last.pt"), chance))
    elif kind == 1:
        archive = spoil_bytes(_own_state(), chance)
        with_checksum(path, archive)
    else:
        state = torch.load(io.BytesIO(_own_state()), weights_only=True)
        checkpoints.save(path, as_state(spoil_tree(state, chance, odd_tensors())))
    state = checkpoints.load(path)
    trainer = small_trainer()
    trainer.load_state_dict(state)
    trainer.train_step(next(trainer.train.epoch()))


def with_checksum(path: Path, archive: bytes) -> None:
    """Write a checkpoint of these bytes whose SHA-256 is right."""
    import hashlib

    archive = archive[:-2]
    digest = hashlib.sha256(archive).hexdigest().encode()
    path.write_bytes(archive + struct.pack("<H", len(digest)) + digest)


def as_state(tree: Any) -> dict[str, Any]:
    return tree if isinstance(tree, dict) and all(isinstance(key, str) for key in tree) else {"model": tree}


def weights(folder: Path, chance: random.Random) -> None:
    """A .safetensors file of ours."""
    path = folder / "ours.safetensors"
    whole = sample("ended.safetensors")
    if chance.randrange(3) == 0:
        path.write_bytes(spoil_bytes(whole, chance))
    else:
        tensors, metadata = _read_whole(whole)
        metadata = spoil_tree(metadata, chance)
        if isinstance(metadata, dict) and chance.randrange(4):
            metadata = {name: value for name, value in metadata.items() if name != weight_files.SHA256}
        if chance.randrange(3) == 0 and tensors:
            name = chance.choice(sorted(tensors))
            tensors[name] = chance.choice(
                (torch.zeros(3), torch.zeros(0), tensors[name].half(), tensors[name].reshape(-1)[:1].clone())
            )
        save_file(tensors, path, {weight_files.METADATA: json.dumps(metadata)})
    trained = from_file(path, Configs if chance.randrange(2) else None)
    trained.model(torch.zeros(1, trained.image_shape[2], 64, 64))
    write_card(trained, folder / "theirs.safetensors", "safetensors", folded=False)


@cache
def _parsed(whole: bytes) -> tuple[dict[str, torch.Tensor], str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.safetensors"
        path.write_bytes(whole)
        tensors, metadata = load_weights(path)
    return tensors, json.dumps(metadata)


def _read_whole(whole: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, metadata = _parsed(whole)
    return dict(tensors), json.loads(metadata)


def theirs(folder: Path, chance: random.Random) -> None:
    """A stranger's file of weights, as `import` takes it."""
    path = folder / chance.choice(("theirs.pt", "theirs.safetensors"))
    state = dict(_read_whole(sample("ended.safetensors"))[0])
    if path.suffix == ".safetensors":
        path.write_bytes(spoil_bytes(sample("ended.safetensors"), chance))
    else:
        buffer = io.BytesIO()
        is_spoilt = chance.randrange(2)
        wrapped: Any = chance.choice((state, {"state_dict": state}, {"model": state, "args": {"lr": 1}}))
        legacy = {"_use_new_zipfile_serialization": chance.randrange(3) > 0}
        torch.save(spoil_tree(wrapped, chance, odd_tensors()) if is_spoilt else wrapped, buffer, **legacy)
        path.write_bytes(buffer.getvalue() if is_spoilt else spoil_bytes(buffer.getvalue(), chance))
    read_tensors(path)


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
YAML_TAGS = (
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/new:os.system ['touch {CANARY}']",
    "&a [*a]",
    "*nothing",
    "!!binary gA==",
    "!!timestamp x",
    "!!bool x",
    "!!int ''",
    "2001-99-99",
    "1:" * 5000 + "1",
    "[" * 2000,
    "- " * 2000,
    "? [a]\n: b",
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
    "g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]",
)


def spoil_yaml(text: str, chance: random.Random) -> bytes:
    """In its bytes, its tree, or by a value that YAML alone has."""
    kind = chance.randrange(4)
    if kind == 0:
        return spoil_bytes(text.encode(), chance)
    if kind == 1:
        lines = text.splitlines()
        at = chance.randrange(len(lines))
        name = lines[at].partition(":")[0]
        lines[at] = f"{name}: {chance.choice(YAML_TAGS)}" if chance.randrange(2) else chance.choice(YAML_TAGS)
        return "\n".join(lines).encode()
    tree = spoil_tree(yaml.safe_load(text), chance)
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


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


@cache
def pictures() -> dict[str, bytes]:
    """A small image of each kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    kinds = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}
    found = {}
    for ending, kind in kinds.items():
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
        Image.fromarray(pixels).save(buffer, kind, **options)
        found[ending] = buffer.getvalue()
    return found


def image(folder: Path, chance: random.Random) -> None:
    """An image file in a folder of labelled images."""
    ending = chance.choice(sorted(pictures()))
    path = folder / "images" / "cat" / f"1.{ending}"
    path.parent.mkdir(parents=True)
    other = chance.choice(sorted(pictures()))  # what a file is called says nothing
    path.write_bytes(spoil_bytes(pictures()[ending if chance.randrange(5) else other], chance))
    labelled_images(folder / "images", ("cat", "dog"), (8, 8, 3))


MEMBERS = (
    "../../canary",
    "/canary",
    "train/cat/../../../canary",
    "train/cat/a\0b.png",
    "train/cat/\x1b[31m.png",
    "train/",
)


def archive(folder: Path, chance: random.Random) -> None:
    """A .zip of an image tree."""
    buffer = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(buffer, "w", packing) as made:
        for split in ("train", "test"):
            for name in ("cat", "dog"):
                made.writestr(f"{split}/{name}/1.png", pictures()["png"])
        if chance.randrange(4) == 0:
            made.writestr(chance.choice(MEMBERS), bytes(chance.choice((0, 10, 2**21))))
    (folder / "tree.zip").write_bytes(spoil_bytes(buffer.getvalue(), chance))
    image_folder(folder / "tree.zip", 8, folder / "cache")


@cache
def _cached() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        images = torch.randint(0, 256, (6, 4, 4, 3), dtype=torch.uint8)
        split = Split(images, torch.tensor([0, 1, 0, 1, 0, 1]))
        data_cache.save(Path(folder), "one", "source", measured("pets", ("cat", "dog"), split, split))
        return (Path(folder) / "pets-one.safetensors").read_bytes()


def data_set_cache(folder: Path, chance: random.Random) -> None:
    """The cache of a decoded data set."""
    path = folder / "pets-one.safetensors"
    path.write_bytes(_cached())
    if chance.randrange(2):
        path.write_bytes(spoil_bytes(_cached(), chance))
    else:
        length = int.from_bytes(_cached()[:8], "little")
        header = json.dumps(spoil_tree(json.loads(_cached()[8 : 8 + length]), chance)).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + _cached()[8 + length :])
    found = data_cache.load(folder, "pets", "one")
    if found is None:
        raise UserError("it is made again")
    found.train.images.sum(), found.train.labels.sum()


TARGETS: dict[str, Callable[[Path, random.Random], None]] = {
    "checkpoint": checkpoint,
    "weights": weights,
    "their weights": theirs,
    "config": config,
    "run folder": run_folder,
    "image": image,
    "archive": archive,
    "data set cache": data_set_cache,
}


# --- the rules ---


class TooLong(BaseException):
    """An input took more than `SECONDS`."""


@contextmanager
def _hurried() -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TooLong

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, 20 * SECONDS)}
    before = {kind: signal.signal(kind, too_long) for kind in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for kind, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(kind, before[kind])


def attempt(target: str, chance: random.Random, room: Path) -> str:
    """Spoil and read one input. Returns `read` or `refused`; anything else is an AssertionError.

    Args:
        room: an empty folder, and where the process is: the canary would be there.
    """
    inner = room / "inner"
    inner.mkdir()
    try:
        with _hurried(), ready_for_threads():
            TARGETS[target](inner, chance)
        outcome = "read"
    except UserError:  # whose text the command line makes one line, printable and not too long
        outcome = "refused"
    except TooLong:
        raise AssertionError(f"more than {SECONDS} s") from None
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(inner)
    assert os.listdir(room) == [], f"files were made: {os.listdir(room)}"
    return outcome


@contextmanager
def fuzzing_room() -> Iterator[Path]:
    """An empty folder to be in, where parts of the package log nothing."""
    before, log = Path.cwd(), logging.getLogger("convmixer")
    level = log.level
    log.setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            log.setLevel(level)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = [args.only] if args.only else list(TARGETS)
    counts = {name: Counter() for name in names}
    broken: dict[str, str] = {}
    end = time.monotonic() + 60 * args.minutes
    number = args.seed
    with fuzzing_room() as room:
        while time.monotonic() < end:
            for name in names:
                seed = f"{name} {number}"
                try:
                    counts[name][attempt(name, random.Random(seed), room)] += 1
                except AssertionError as error:
                    counts[name]["broken"] += 1
                    kind = f"{name}: {str(error)[:100]}"
                    if kind not in broken:
                        broken[kind] = seed
                        print(f"BROKEN by seed {seed!r}", flush=True)
                        traceback.print_exc()
            number += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rows = [[name, sum(c.values()), c["read"], c["refused"], c["broken"]] for name, c in counts.items()]
    for row in rows:
        print(*row, sep="\t")
    print(f"inputs {sum(row[1] for row in rows):,}, seeds {args.seed} to {number - 1}, peak memory {peak} MiB")
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["input", "tried", "read", "refused", "broken"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
