"""Checkpoints, files of weights, and strangers' weights: spoilt, and read as the package reads them."""

import hashlib
import io
import json
import random
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.robustness.fuzz.spoiling import ODD, Touch, spoil_bytes, spoil_tree
from convmixer.configs import Configs
from convmixer.data.batches import Batches
from convmixer.data.splits import Split, measured
from convmixer.model.variants import conv_mixer
from convmixer.trained import weight_files
from convmixer.trained.model_card import write_card
from convmixer.trained.opening import from_file
from convmixer.trained.weight_files import load_weights, read_tensors
from convmixer.training import checkpoints
from convmixer.training.schedules import cosine
from convmixer.training.trainer import Trainer

SAMPLE = Path(__file__).resolve().parents[3] / "tests" / "formats" / "v1"


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
