"""The files of a run in which values are changed while it trains: what was asked for, and from which update it counts.

`set` appends lines to requests.jsonl. The process that trains takes them between two updates, and writes each with its
update to changes.jsonl before it uses it. So a run that is resumed, or trained anew with that file, makes the same
changes before the same updates.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convmixer.errors import UserError
from convmixer.files.atomic import write_atomically
from convmixer.files.untrusted import parse_json, read_bytes
from convmixer.tracking.run_folder import CHANGES, REQUESTS

LARGEST_FILE = 2**20  # bytes; thousands of changes
ADJUSTABLE = (
    "optimizer.learning_rate",
    "optimizer.muon_learning_rate",
    "optimizer.weight_decay",
    "label_smoothing",
    "gradient_clip",
)
LIVE_LENGTHS = ("epochs", "steps")
FIXED_AUGMENTATION = ("augment.ops", "augment.randaugment_set")  # other operations, rather than other strengths


def is_live(key: str) -> bool:
    """Return True if a key's value may be changed while a run trains."""
    return key in (*ADJUSTABLE, *LIVE_LENGTHS) or is_strength(key)


def is_strength(key: str) -> bool:
    """Return True if a key is a strength of augmentation."""
    return key.startswith("augment.") and key not in FIXED_AUGMENTATION


@dataclass(frozen=True)
class Request:
    """A value that the user asked for, by `set`. The key `stop` ends the training."""

    key: str
    value: Any


@dataclass(frozen=True)
class Change:
    """A value that is used from an update on.

    Attributes:
        update: the number of updates that are made before it is used.
        value: the new value.
        was: the value before.
        request: the number of the line in requests.jsonl, from 1 on; 0: it came from another run's changes.jsonl.
    """

    update: int
    key: str
    value: Any
    was: Any = None
    request: int = 0

    def __str__(self) -> str:
        """Describe the change in words."""
        return f"from update {self.update} on: {self.key}={shown(self.value)} (was {shown(self.was)})"


def shown(value: Any) -> str:
    """Write a value as it is typed on the command line."""
    if isinstance(value, float | str):
        return f"{value:g}" if isinstance(value, float) else value
    return json.dumps(value).replace(" ", "").replace("null", "none")


def ask(folder: Path, requests: Sequence[Request]) -> int:
    """Append requests to a run's file, and return how many it has then.

    Raises:
        OSError: the file can't be written.
    """
    lines = "".join(json.dumps(asdict(request)) + "\n" for request in requests)
    with open(folder / REQUESTS, "ab") as file:
        file.write(lines.encode())  # in one call, so that two commands at a time do not mix their lines
        file.flush()
        os.fsync(file.fileno())
    return len(read_requests(folder))


def read_requests(folder: Path) -> list[Request]:
    """Return what was asked for so far.

    Raises:
        UserError: the file is damaged.
    """
    return [Request(line["key"], line["value"]) for line in _lines(folder / REQUESTS, {"key": str})]


def read_changes(file: Path) -> list[Change]:
    """Return the changes in a changes.jsonl; none if it is missing.

    Raises:
        UserError: the file is damaged.
    """
    types = {"update": int, "key": str, "request": int}
    return [Change(**line) for line in _lines(file, types, {"was": None})]


def write_changes(folder: Path, changes: Sequence[Change]) -> None:
    """Write a run's changes, all of them, to its file; they are on the disk then."""
    write_atomically(folder / CHANGES, b"".join(json.dumps(asdict(change)).encode() + b"\n" for change in changes))


def _lines(file: Path, types: dict[str, type], others: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Read whole lines; a last one that a kill cut short does not count."""
    if not file.exists():
        return []
    lines = read_bytes(file, LARGEST_FILE).split(b"\n")[:-1]
    return [_line(line, types, others or {}, f"{file}: line {number}") for number, line in enumerate(lines, 1)]


def _line(text: bytes, types: dict[str, type], others: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        line = parse_json(text)
        if line.keys() == {*types, *others, "value"} and all(type(line[name]) is kind for name, kind in types.items()):
            return line
    except (ValueError, TypeError, AttributeError):
        pass
    raise UserError(f"{where} is damaged: expected a key and its value")
