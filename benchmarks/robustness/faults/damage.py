"""Checkpoints and caches that are no longer what was written: a bit flipped in each region, an end cut off."""

import random
import zipfile
from pathlib import Path

from benchmarks.robustness.faults.lab import Lab, Process
from benchmarks.robustness.faults.table import Outcome

Region = tuple[str, int, int]  # name, first byte, byte after the last


def regions(path: Path) -> list[Region]:
    """The byte regions of a checkpoint, which is a zip archive: of each kind of content one, and what frames it."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        starts = [member.header_offset for member in members] + [archive.start_dir]
        directory = archive.start_dir
    found = [("header", 0, 30)]
    for member, end in zip(members, starts[1:], strict=True):
        kind = (
            "pickle" if member.filename.endswith("data.pkl") else "tensor" if "/data/" in member.filename else "other"
        )
        found.append((kind, end - member.file_size, end) if member.file_size else (kind, end - 1, end))
    return [*found, ("directory", directory, size - 66), ("comment", size - 66, size)]


def flip(path: Path, place: int, bit: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.unlink()  # a name of its own: `last` and `previous` may be one file
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    """Keep the first bytes of a file."""
    content = path.read_bytes()[:size]
    path.unlink()
    path.write_bytes(content)


def bits_of_last(lab: Lab, n: int, seed: int) -> Outcome:
    """A bit of the checkpoint `last` flipped, in each region of the file in turn."""
    draw = random.Random(seed)
    half_way = lab.killed_half_way()
    by_kind: dict[str, list[Region]] = {}
    for region in regions(_checkpoint(lab, half_way, "last")):
        by_kind.setdefault(region[0], []).append(region)
    problems, message = [], ""
    for number in range(n):
        kind = sorted(by_kind)[number % len(by_kind)]
        _, first, end = draw.choice(by_kind[kind])
        place, bit = draw.randrange(first, end), draw.randrange(8)
        folder = lab.copy(half_way)
        flip(_checkpoint(lab, folder, "last"), place, bit)
        message, lost = _falls_back(lab, folder)
        problems += [f"byte {place} ({kind}): {lost}"] if lost else []
    ended = f"went on from previous.pt to the same bits; regions: {', '.join(sorted(by_kind))}"
    return Outcome(n, problems, ended, 0, message)


def last_cut_short(lab: Lab, n: int, seed: int) -> Outcome:
    """The end of `last` cut off, or all of it."""
    draw = random.Random(seed)
    half_way = lab.killed_half_way()
    size = _checkpoint(lab, half_way, "last").stat().st_size
    problems, message = [], ""
    for length in [size - 1, 0, *(draw.randrange(size) for _ in range(n))][:n]:
        folder = lab.copy(half_way)
        cut(_checkpoint(lab, folder, "last"), length)
        message, lost = _falls_back(lab, folder)
        problems += [f"{length} of {size} bytes left: {lost}"] if lost else []
    return Outcome(n, problems, "went on from previous.pt to the same bits", 0, message)


def _falls_back(lab: Lab, folder: Path) -> tuple[str, str]:
    """The line that says so, and what went wrong."""
    process = Process(folder, ["resume", "last"])
    status = process.wait()
    said = [line for line in process.output.splitlines() if "resuming from previous.pt" in line]
    if status != 0 or len(said) != 1:
        return "", f"status {status}, {process.errors[-1:]}, said {len(said)} times"
    return said[0], lab.finish(folder)


def both(lab: Lab, n: int, seed: int) -> Outcome:
    """`last` and `previous` both damaged."""
    draw = random.Random(seed)
    half_way = lab.killed_half_way()
    problems, message = [], ""
    for _ in range(n):
        folder = lab.copy(half_way)
        for name in ("last", "previous"):
            path = _checkpoint(lab, folder, name)
            flip(path, draw.randrange(path.stat().st_size), draw.randrange(8))
        before = _contents(folder)
        process = Process(folder, ["resume", "last"])
        status = process.wait()
        if status != 2 or len(process.errors) != 1 or _contents(folder) != before:
            problems.append(f"status {status}, {process.errors}, touched: {_contents(folder) != before}")
        message = process.errors[-1]
    return Outcome(n, problems, "refused; no byte of the run's folder changed", 2, message)


def best(lab: Lab, n: int, seed: int) -> Outcome:
    """`best` damaged."""
    draw = random.Random(seed)
    half_way = lab.killed_half_way()
    problems = []
    for _ in range(n):
        folder = lab.copy(half_way)
        path = _checkpoint(lab, folder, "best")
        flip(path, draw.randrange(path.stat().st_size), draw.randrange(8))
        status = Process(folder, ["resume", "last"]).wait()
        run = lab.run(folder)
        if status != 0 or run.summary.get("weights") != "best":
            problems.append(f"status {status}, {run.summary.get('weights')}")
    return Outcome(n, problems, "went on; the best of the epochs that were left was tested", 0)


def caches(lab: Lab, n: int, seed: int) -> Outcome:
    """The data set's cache damaged on disk: a bit flipped, the end cut off."""
    draw = random.Random(seed)
    half_way = lab.killed_half_way()
    problems, message = [], ""
    for number in range(n):
        folder = lab.copy(half_way)
        (path,) = (folder / "data" / "cache").glob("*.safetensors")
        place = draw.randrange(path.stat().st_size)
        flip(path, place, draw.randrange(8)) if number % 2 else cut(path, place)
        process = Process(folder, ["resume", "last"])
        status = process.wait()
        lost = lab.finish(folder)
        if status != 0 or lost or len(process.errors) != 1:
            problems.append(f"byte {place}: status {status}, {process.errors}, {lost}")
        message = process.errors[-1] if process.errors else ""
    return Outcome(n, problems, "made again; went on to the same bits", 0, message)


def _checkpoint(lab: Lab, folder: Path, name: str) -> Path:
    return lab.run(folder).checkpoint(name)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (folder / "logs").rglob("*") if path.is_file()}


DAMAGES = {
    "last-bits": bits_of_last,
    "last-cut": last_cut_short,
    "last-and-previous": both,
    "best": best,
    "cache": caches,
}
