"""What travels to a machine without a network: the tree, and a folder with wheels, images and the run's script."""

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / ".gpu"
WHEELS = ("labml==0.5.3", "labml-helpers==0.4.89", "platformdirs")  # what a machine with PyTorch lacks
MOST_BYTES = 64 * 2**20  # that travel with one run
PART = {"kernels": 1, "training": 2}
SCRIPT = """#!/bin/bash
# Made by `python -m benchmarks.gpu pack {run}`, of commit {commit}; run it in the root of the checkout. OUT is a folder
# for the results, SITE and IMAGES are folders that the next run finds again, SECONDS_LEFT is what all stages may take.
set -eu
site=${{SITE:-/tmp/site}} images=${{IMAGES:-/dev/shm/cifar10}}
[ -d "$site" ] || python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" .gpu/wheels/*.whl
export PYTHONPATH=$site:$PWD PYTHONUNBUFFERED=1
python3 .gpu/images/unpack.py "$images" {part} >/dev/null {background}
python3 -m benchmarks.gpu {run} --out "$OUT" --commit {commit} --data "$images" --kernels "${{KERNELS:-auto}}" \\
    --seconds "${{SECONDS_LEFT:-{seconds}}}" "$@" || failed=1
wait
exit ${{failed:-0}}
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
    told = {"kernels": {"background": "&", "seconds": 220}, "training": {"background": "", "seconds": 400}}[run]
    (FOLDER / "run").write_text(SCRIPT.format(run=run, commit=commit, part=PART[run], **told))
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
