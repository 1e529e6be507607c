"""Reads and writes weight files without running code: ours, with metadata, and other people's."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from convmixer.console import one_line, printable
from convmixer.errors import UserError
from convmixer.files.atomic import write_atomically
from convmixer.files.pickles import NotPlain, holds_its_numbers, load_plain
from convmixer.files.untrusted import parse_json, read_bytes
from convmixer.model.interchange import prefix

METADATA = "convmixer"
SHA256 = "sha256"
PICKLES = (".pt", ".pth", ".bin")
# What training scripts wrap a state dict in, and put beside it: their arguments, places, figures of numpy's.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
PASSED_OVER = (
    *("argparse.Namespace", "types.SimpleNamespace", "datetime.datetime", "datetime.timedelta"),
    *(f"pathlib{module}.{kind}Path" for module in ("", "._local") for kind in ("", "Posix", "Windows", "PurePosix")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray"),
)
AVERAGED = "n_averaged"  # updates; torch's `AveragedModel` has it beside the network that it holds
DEEPEST = 3  # dicts within each other
MOST_BYTES = 2**34


def check_new(output: Path, force: bool) -> None:
    """Check that no file is overwritten without being asked to.

    Raises:
        UserError: there is one.
    """
    if output.exists() and not force:
        raise UserError(f"--output {output}: exists; --force overwrites it")


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a state dict as .safetensors, with metadata and the SHA-256 of both.

    Raises:
        UserError: the file can't be written.
    """
    metadata = {**metadata, SHA256: _digest(weights, metadata)}
    write_tensors(path, weights, {METADATA: json.dumps(metadata)})


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a state dict and its metadata from a file of `save_weights`.

    Raises:
        UserError: there is no such file, it is damaged, or it was not written by `save_weights`.
    """
    weights, texts = _read_safetensors(path)
    try:
        metadata = parse_json(texts.get(METADATA, "null"))
    except ValueError:
        raise UserError(f"{path}: its {METADATA!r} metadata are not JSON, so the file is damaged") from None
    if not isinstance(metadata, dict):
        raise UserError(
            f"{path}: has no {METADATA!r} metadata, expected a file of `export`; `import` converts other weights"
        )
    digest = metadata.pop(SHA256, None)
    if digest not in (None, _digest(weights, metadata)):  # files of version 0.1 have none
        raise UserError(f"{path}: the file is damaged (its SHA-256 does not match)")
    return weights, metadata


def write_tensors(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a state dict: .safetensors, or a `torch.save` file for the endings in `PICKLES`.

    Raises:
        UserError: the file can't be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    if path.suffix in PICKLES:
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        content = buffer.getvalue()
    else:
        content = safetensors.torch.save(tensors, metadata or {"format": "pt"})
    write_file(path, content)


def write_file(path: Path, content: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        UserError: it can't be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A stranger's state dict, from a .safetensors or `torch.save` file of any name; no code in it is run.

    What training scripts wrap it in, and `DataParallel`, `torch.compile`, Lightning and others put before its names, is
    taken off.

    Raises:
        UserError: the file can't be read, or holds something other than usable tensors.
    """
    weights = _unwrapped(_read_pickle(path), path) if _is_pickle(path) else _read_safetensors(path)[0]
    before = prefix(weights) or ""
    if before:
        weights = {name: tensor for name, tensor in weights.items() if name != AVERAGED}
    return {
        name.removeprefix(before): usable(tensor, f"{path}: {ascii(name)[:60]}") for name, tensor in weights.items()
    }


def _is_pickle(path: Path) -> bool:
    """True unless it is .safetensors, by what is in it: names of weights are as their makers liked them."""
    if path.suffix == ".safetensors" or not path.is_file():
        return path.suffix != ".safetensors"
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] != b"{"
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.exists() and not path.is_file():  # reading a FIFO would wait
        raise UserError(f"{path}: can't be read: is not an ordinary file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # damage, or number types that torch does not know
        raise UserError(f"{path}: can't be read: {one_line(error)}") from None


def _read_pickle(path: Path) -> Any:
    content = read_bytes(path, MOST_BYTES)
    try:
        return load_plain(content, PASSED_OVER)
    except NotPlain as problem:
        what = (
            f"holds {printable(problem.found)[:80]}, which is no" if problem.found else "is damaged, or holds more than"
        )
        raise UserError(f"{path}: {what} tensors and plain values: what could be code is not read") from None


def _unwrapped(content: Any, path: Path) -> dict[str, Any]:
    """The state dict of a ConvMixer in what a script saved; where there is none, what is there in its place."""
    found = _state_dict(content, DEEPEST)
    if found is not None:
        return found
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{path}: holds a {type(content).__name__}, expected a state dict (names and tensors)")
    return content


def _state_dict(content: Any, depth: int) -> dict[str, Any] | None:
    """The first that has a ConvMixer's names: itself, what is in one of `WRAPPERS`, what is elsewhere in it."""
    if not isinstance(content, dict) or depth == 0:
        return None
    names = [name for name in content if isinstance(name, str)]
    if len(names) == len(content) and prefix(names) is not None:
        return content
    inner = (content[name] for name in [*(w for w in WRAPPERS if w in content), *content])
    return next(filter(None, (_state_dict(part, depth - 1) for part in inner)), None)


def usable(tensor: Any, where: str) -> Tensor:
    """Check a tensor and return it for use as weights: floating-point numbers as float32.

    Raises:
        UserError: it is not an ordinary tensor, has complex numbers, or numbers that are not finite.
    """
    if not isinstance(tensor, Tensor):
        raise UserError(f"{where} is a {type(tensor).__name__}, expected a tensor")
    if not holds_its_numbers(tensor):
        raise UserError(f"{where} is not an ordinary tensor that holds all its numbers")
    if tensor.is_complex():
        raise UserError(f"{where} has complex numbers")
    if tensor.is_floating_point():
        tensor = tensor.float()
        if not tensor.isfinite().all():
            raise UserError(f"{where} holds numbers that are not finite")
    return tensor.detach().contiguous()


def _digest(weights: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the metadata and of all tensors' names, types, shapes and numbers, in any order."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
