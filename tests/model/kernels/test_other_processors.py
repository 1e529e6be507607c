"""The C++ on ARM's NEON: compiled by a cross compiler and run by an emulator, it computes what it does on this CPU."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from convmixer.model.kernels import build

MAIN = Path(__file__).with_name("values_main.cpp")
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"  # Debian's g++-aarch64-linux-gnu and qemu-user


@pytest.fixture
def arm() -> None:
    missing = [program for program in (COMPILER, EMULATOR) if not shutil.which(program)]
    if missing and not os.environ.get("CONVMIXER_CI"):
        pytest.skip(f"there is no {' and no '.join(missing)}")
    assert not missing


def values(compiler: str, flags: tuple[str, ...], program: Path, *emulator: str) -> np.ndarray:
    """Return what the kernels compute, compiled with these flags."""
    every = [flag for flag in build.FLAGS if flag != "-fPIC"] + [*flags, f"-I{build.SOURCES}", "-static"]
    subprocess.run([compiler, *every, str(MAIN), "-o", str(program)], check=True)
    return np.frombuffer(subprocess.run([*emulator, str(program)], check=True, capture_output=True).stdout, np.float32)


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_neon_computes_the_same(tmp_path: Path) -> None:
    """Within the rounding of sums whose order differs; with GELU, BatchNorm and all gradients."""
    ours = values(build._compiler(), build.PLAIN, tmp_path / "here")
    theirs = values(COMPILER, build.PLAIN, tmp_path / "arm", EMULATOR)
    assert len(ours) == len(theirs) > 100_000 and np.isfinite(ours).all()
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_neon_s_own_instructions_are_used(tmp_path: Path) -> None:
    """Fused multiply-adds of four floats, not one at a time."""
    program = tmp_path / "arm"
    values(COMPILER, build.PLAIN, program, EMULATOR)
    code = subprocess.run(
        [COMPILER.replace("g++", "objdump"), "-d", str(program)], check=True, capture_output=True, text=True
    ).stdout
    assert sum("fmla" in line and ".4s" in line for line in code.splitlines()) > 100
