"""What travels to a machine without a network: the tree, and a folder with wheels, images and the run's script."""

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / ".gpu"
WHEELS = ("labml==0.5.3", "labml-helpers==0.4.89", "platformdirs")  # what a machine with PyTorch lacks
MOST_BYTES = 64 * 2**20  # that travel with one run
SCRIPTS = {
    "kernels": """python3 .gpu/images/unpack.py /dev/shm/cifar10 1 >/dev/null &
python3 -m benchmarks.gpu kernels --out "$OUT" --commit {commit} --seconds "${{SECONDS_LEFT:-220}}"
wait
""",
    "training": """python3 .gpu/images/unpack.py /dev/shm/cifar10 2 >/dev/null
python3 -m benchmarks.gpu training --out "$OUT" --commit {commit} --seconds "${{SECONDS_LEFT:-400}}" \\
    --data /dev/shm/cifar10 --kernels "${{KERNELS:-auto}}"
""",
}
PART = {"kernels": 1, "training": 2}
START = """#!/bin/bash
# Made by `python -m benchmarks.gpu pack`. Run it in the root of the checkout, with OUT naming a folder for the results.
[ -d /tmp/site ] || python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .gpu/wheels/*.whl
export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1
"""


def pack(run: str, images: Path) -> int:
    """Make the folder .gpu for a run, anew. Returns the bytes that travel, with the tree.

    Args:
        run: `kernels` or `training`.
        images: a folder with part1.pack, part2.pack and their unpack.py.

    Raises:
        ValueError: it is more than may travel.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "images").mkdir(parents=True)
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", "wheels"]
    subprocess.run([*download, *WHEELS], cwd=FOLDER, check=True, stderr=subprocess.DEVNULL)
    for name in ("unpack.py", f"part{PART[run]}.pack"):
        shutil.copyfile(images / name, FOLDER / "images" / name)
    commit = _git("describe", "--always", "--dirty").strip()
    (FOLDER / "run").write_text(START + SCRIPTS[run].format(commit=commit))
    size = travelling_bytes()
    if size > MOST_BYTES:
        raise ValueError(f"{size / 2**20:.1f} MiB would travel, more than {MOST_BYTES / 2**20:.0f}")
    return size


def travelling_bytes() -> int:
    """Of the tree, as git has it with new files that it does not ignore, and of .gpu."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    tree = [PROJECT / name for name in names if name]
    return sum(path.stat().st_size for path in [*tree, *FOLDER.rglob("*")] if path.is_file())


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
