"""The C++ under the address and undefined-behaviour sanitizers."""

import os
import subprocess
from pathlib import Path

import pytest
from kernel_fixtures import native  # noqa: F401

from convmixer.model.kernels import build

MAIN = Path(__file__).with_name("sanitized_main.cpp")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")


@pytest.mark.slow
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("instructions", [*build.INSTRUCTIONS, "plain"])
def test_no_address_out_of_bounds_and_no_undefined_behaviour(tmp_path, native, instructions):  # noqa: F811
    if instructions == "AVX512" and native.instructions != "AVX512":
        pytest.skip("this CPU has no AVX-512")
    flags = [flag for flag in build.FLAGS if flag not in ("-O3", "-fPIC")]
    flags += [*build.INSTRUCTIONS.get(instructions, build.PLAIN), *SANITIZERS, f"-I{build.SOURCES}"]
    program = str(tmp_path / "program")
    subprocess.run([build._compiler(), *flags, str(MAIN), "-o", program], check=True)
    # No preloaded library, and no leaks: the arenas live as long as the process.
    ended = subprocess.run(
        [program], env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": ""}, capture_output=True, text=True
    )
    assert ended.returncode == 0 and ended.stdout == "all shapes done\n", ended.stderr[-2000:]
