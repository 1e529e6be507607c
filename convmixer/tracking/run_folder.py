"""Names and checks the files of a run folder, beside labml's own indicators.yaml and run_log.jsonl."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convmixer.errors import UserError
from convmixer.files.untrusted import is_number, open_ordinary, parse_json, read_bytes

FORMAT = 1  # of the folder; increased when older versions would read it wrongly
FORMAT_FILE = "format"  # holds the format's number; the first runs have no such file
INFO, CONFIGS, DIFF, RUN_LOG = "run.yaml", "configs.yaml", "source.diff", "run_log.jsonl"  # labml's
LOG = "log.jsonl"  # metrics, in labml's format
HISTOGRAMS = "histograms.jsonl"  # of layers, at the ends of epochs
CONSOLE = "console.log"
START = "start.json"  # what is known when a run starts
SCRIPT = "script.py"  # a copy of the user's own script
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
CURVES = "curves.png"
REQUESTS = "requests.jsonl"  # values that the user asked to change in mid-training
CHANGES = "changes.jsonl"  # the same with the update from which on each was used
LOCK = ".lock"  # held by the process that trains
SENT = "sent.json"  # records what labml servers have taken
SENDING = ".sending"  # held by the process that sends the run to a server
TRACKERS = "trackers"  # a folder: what other trackers have taken, and what their libraries printed


LONGEST_LINE = 2**20  # bytes of a log's line; none of ours is as long


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log; a last one that a kill cut short is left out.

    Raises:
        UserError: a line is damaged, or the file is no ordinary one.
    """
    return [log_line(line, f"{path}: line {number}") for number, line in enumerate(log_lines(path), 1)]


def log_lines(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a log without their ends, very long ones in parts; none if it is missing.

    Raises:
        UserError: the file is no ordinary one, or can't be read.
    """
    try:
        with open_ordinary(path) as file:
            while (line := file.readline(LONGEST_LINE)).endswith(b"\n") or len(line) == LONGEST_LINE:
                yield line.removesuffix(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None


def log_line(text: bytes, where: str) -> dict[str, Any]:
    """Return a line of a log, checked. Raises UserError if it is damaged; the message begins with `where`."""
    try:
        line = parse_json(text)
        "".join(line["track"]).encode()  # which fails for half of a surrogate pair
        points = [point for of_metric in line["track"].values() for point in of_metric]
        is_right = all(type(step) is int and abs(step) < 2**63 and values for step, values in points)
        if is_right and all(is_number(value) for _, values in points for value in values):
            return line
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{where} is damaged: expected values of metrics")


def check_folder(folder: Path) -> None:
    """Check that a run's folder is safe to use: no links out of it, only files and folders, a known format.

    Raises:
        UserError: it has a link out of it, a FIFO, device or socket, or a newer format.
    """
    root = folder.resolve()
    for entry in _entries(root):
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))  # which, unlike resolve(), takes a link to itself
            if not target.is_relative_to(root) or not target.exists():
                raise UserError(f"{folder / entry.name} is a link that leads out of the run's folder or nowhere")
            continue
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:
            continue  # a temporary file of the process that trains, which has been renamed
        is_folder = stat.S_ISDIR(mode) and not entry.name.endswith((".yaml", ".json", ".jsonl", ".log", ".pt"))
        if not stat.S_ISREG(mode) and not is_folder:
            raise UserError(f"{folder / entry.name} is not an ordinary file")
    _check_format(folder / FORMAT_FILE)


def _check_format(file: Path) -> None:
    found = read_bytes(file, 100).strip() if file.exists() else b"1"
    if not found.isdigit() or not 1 <= int(found) <= FORMAT:
        number = found.decode("ascii", "replace") if found.isdigit() else "unknown"
        raise UserError(f"{file.parent}: the run has format {number}, this version reads up to {FORMAT}")


def _entries(root: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a run's folder and of the folders in it."""
    try:
        top = list(os.scandir(root))
        return top + [inner for entry in top if entry.is_dir(follow_symlinks=False) for inner in os.scandir(entry)]
    except OSError as error:
        raise UserError(f"{error.filename}: can't be read: {error.strerror}") from None
