"""Compiles the C++ kernels for this machine, once, into the user's cache folder, and loads them.

The file's name holds a fingerprint of all that it is made from: sources, compiler, flags, OpenMP runtime. Its last
bytes are a checksum: a file that was damaged is made again. To load a file is to run it, and anybody can compute a
checksum: it must be the user's own, or root's, and so must its folder, and no one else may write to them.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from convmixer.errors import Unavailable
from convmixer.files.atomic import replace

SOURCES = Path(__file__).parent / "native"
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fno-math-errno", "-fvisibility=hidden")
# By torch's name of what this CPU can do. On other CPUs, vectors of 16 bytes are what every compiler can make.
INSTRUCTIONS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-DVECTOR_BYTES=64"),
    "AVX2": ("-mavx2", "-mfma", "-DVECTOR_BYTES=32"),
}
PLAIN = ("-DVECTOR_BYTES=16",)
_DIGEST_BYTES = 32
_PATIENCE = 300.0  # seconds for the compiler, or for another process that compiles

log = logging.getLogger("convmixer")


@dataclass(frozen=True)
class Library:
    """The loaded kernels.

    Attributes:
        instructions: the instruction set that they were compiled for, in torch's words.
        seconds: what compiling took; None where that was done earlier.
    """

    functions: ctypes.CDLL
    instructions: str
    seconds: float | None


@cache
def outcome() -> Library | Unavailable:
    """The kernels, or why there are none. Found out once for each process."""
    try:
        return _load()
    except Unavailable as reason:
        return reason


def is_available() -> bool:
    """Return True if there are native kernels. torch.compile takes the answer for a constant."""
    return isinstance(outcome(), Library)


# What torch.compiler.assume_constant_result does, without the seconds that the import of torch's compiler takes.
is_available._dynamo_marked_constant = True


def library() -> Library:
    """The kernels.

    Raises:
        Unavailable: there is no compiler, or it failed, or its result can't be kept or loaded.
    """
    found = outcome()
    if isinstance(found, Unavailable):
        raise found
    return found


def _load() -> Library:
    capability = torch.backends.cpu.get_cpu_capability()
    compiler, runtime = _compiler(), _openmp_runtime()
    flags = (*FLAGS, *INSTRUCTIONS.get(capability, PLAIN))
    path = user_cache_path("convmixer-lab") / "kernels" / f"{_fingerprint(compiler, flags, runtime)}.so"
    seconds = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep_others_out(path.parent.parent)
        _keep_others_out(path.parent)
        if not _is_whole(path):
            with FileLock(path.with_suffix(".lock"), timeout=_PATIENCE):
                if not _is_whole(path):  # no other process has made it meanwhile
                    log.info("compiling the kernels: only this once, it takes up to half a minute")
                    started = time.perf_counter()
                    _compile(compiler, flags, runtime, path)
                    seconds = time.perf_counter() - started
        return Library(ctypes.CDLL(str(path)), capability, seconds)
    except (OSError, Timeout) as problem:
        raise Unavailable(f"{path}: {problem}") from None


def _compiler() -> str:
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise Unavailable(f"there is no C++ compiler ({' or '.join(names)})")
    return found


def _openmp_runtime() -> str:
    """The OpenMP library that torch has loaded: two in one process would fight over the cores.

    Other packages may have loaded their own (scikit-learn does); torch's is in one of its folders.
    """
    maps = Path("/proc/self/maps")
    lines = maps.read_text(errors="surrogateescape").splitlines() if maps.exists() else []
    loaded = {line.split(maxsplit=5)[5] for line in lines if "libgomp" in line}
    package = Path(torch.__file__).parent
    of_torch = {path for path in loaded if {package, package.with_name("torch.libs")} & set(Path(path).parents)}
    candidates = of_torch or loaded  # a torch built on this machine uses the system's
    if len(candidates) != 1:
        raise Unavailable(f"torch's OpenMP library (libgomp) is not to be found on this {platform.system()}")
    return candidates.pop()


def _fingerprint(compiler: str, flags: tuple[str, ...], runtime: str) -> str:
    version = _run([compiler, "--version"])
    sources = (f"{file.name}\n{file.read_text(encoding='utf-8')}" for file in sorted(SOURCES.iterdir()))
    parts = [version, *flags, runtime, *sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _is_whole(path: Path) -> bool:
    if not path.exists() or path.is_symlink() or not _is_ours_alone(path):
        return False
    content = path.read_bytes()
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


def _keep_others_out(folder: Path) -> None:
    """Let nobody else write to a folder of the user's own.

    Raises:
        Unavailable: it is another user's, or a link.
    """
    if not folder.is_symlink() and hasattr(os, "getuid") and folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)
    if folder.is_symlink() or not _is_ours_alone(folder):
        raise Unavailable(f"{folder} is not this user's own, so nothing in it is run")


def _is_ours_alone(path: Path) -> bool:
    """True if this user, or root, owns a file or folder, and no one else may write to it."""
    if not hasattr(os, "getuid"):
        return True  # Windows, where each user's cache is closed to others
    status = path.stat()
    return status.st_uid in (0, os.getuid()) and not status.st_mode & 0o022


def _compile(compiler: str, flags: tuple[str, ...], runtime: str, path: Path) -> None:
    """Make the file at `path`, aside and in one step."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = []
        for source in sorted(SOURCES.glob("*.cpp")):
            objects.append(f"{folder}/{source.stem}.o")
            _run([compiler, *flags, "-c", str(source), "-o", objects[-1]])
        made = Path(folder) / path.name
        # Without -fopenmp: it would add a runtime of the compiler's own.
        _run([compiler, "-shared", *objects, runtime, "-Wl,-z,defs", "-lm", "-o", str(made)])
        content = made.read_bytes()
        with open(made, "ab") as file:
            file.write(hashlib.sha256(content).digest())
            file.flush()
            os.fsync(file.fileno())
        made.chmod(0o700)
        replace(made, path)


def _run(command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Unavailable(f"{command[0]}: {problem}") from None
    if ended.returncode:
        first = (ended.stderr.strip() or "no message").splitlines()[0]
        raise Unavailable(f"{command[0]} failed: {first[:200]}")
    return ended.stdout
