"""Compiling the kernels: once, by whoever comes first, and what happens where it can't be done."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT
from kernel_fixtures import native  # noqa: F401

from convmixer.errors import Unavailable
from convmixer.model.kernels import build
from convmixer.model.kernels.build import Library

USE = """
import torch
from convmixer.model.kernels import build, depthwise_conv2d
from convmixer.model.layers import depthwise_conv2d as depthwise_conv2d_reference
x, weight = torch.randn(2, 37, 9, 9), torch.randn(37, 1, 5, 5)
error = depthwise_conv2d(x, weight) - depthwise_conv2d_reference(x, weight)
print(build.outcome(), error.abs().max().item() < 1e-4)
"""


# Notes each call, and "compiles" by copying what was compiled before, without its checksum.
COMPILER = """#!/bin/sh
echo "$*" >> {notes}
for output; do :; done
case "$*" in
    --version) echo quick 1.0 ;;
    *-shared*) sleep 1; head -c -32 {compiled} > "$output" ;;
    *) touch "$output" ;;
esac
"""


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: Library) -> Path:  # noqa: F811
    """An empty cache, and a quick compiler that notes each call in a file."""
    notes = tmp_path / "calls"
    script = tmp_path / "quick-c++"
    script.write_text(COMPILER.format(notes=notes, compiled=native.functions._name))
    script.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(script))
    return notes


def compilations(notes: Path) -> int:
    return sum("-shared" in call for call in notes.read_text().splitlines())


def start(**environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", USE], cwd=PROJECT, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_at_once_compile_once_and_a_damaged_file_is_made_again(compiler):
    both = [start(), start()]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert all("Library" in output and "True" in output for output in outputs)
    assert compilations(compiler) == 1

    (made,) = (compiler.parent / "cache").rglob("*.so")
    content = bytearray(made.read_bytes())
    content[len(content) // 2] ^= 1
    made.write_bytes(content)
    rebuilt = build._load()
    assert isinstance(rebuilt, Library) and rebuilt.seconds is not None
    assert compilations(compiler) == 2
    assert build._load().seconds is None
    assert sorted(path.suffix for path in made.parent.iterdir()) == [".lock", ".so"]  # nothing is left lying about


def test_only_this_user_may_write_what_is_loaded(compiler):
    """Under a umask of 000, and in a cache that an earlier version has left open, too."""
    before = os.umask(0)
    try:
        (compiler.parent / "cache/convmixer-lab").mkdir(parents=True, mode=0o777)
        assert build._load().seconds is not None
    finally:
        os.umask(before)
    (made,) = (compiler.parent / "cache").rglob("*.so")
    for path in (made, made.parent, made.parent.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    made.chmod(0o777)  # somebody may have changed it, and its checksum
    assert build._load().seconds is not None
    assert build._load().seconds is None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may give files to others")
def test_a_kernel_of_another_users_is_never_loaded(compiler):
    """As root too: whoever made the file can compute its checksum."""
    assert build._load().seconds is not None
    (made,) = (compiler.parent / "cache").rglob("*.so")
    os.chown(made, 12345, 12345)
    assert build._load().seconds is not None and made.stat().st_uid == 0
    target = made.with_name("planted")
    made.rename(target)
    made.symlink_to(target)
    assert build._load().seconds is not None and not made.is_symlink()
    for folder in (made.parent, made.parent.parent):
        os.chown(folder, 12345, 12345)
        with pytest.raises(Unavailable, match="is not this user's own, so nothing in it is run"):
            build._load()
        os.chown(folder, 0, 0)


def test_without_a_compiler(compiler, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unavailable, match=r"there is no C\+\+ compiler \(no-such-compiler\)"):
        build._load()


def test_a_compiler_that_fails_is_quoted(compiler):
    broken = compiler.parent / "quick-c++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "no space for objects" >&2; exit 1\n')
    with pytest.raises(Unavailable, match=r"quick-c\+\+ failed: no space for objects"):
        build._load()
    assert not list((compiler.parent / "cache").rglob("*.so"))


def test_a_cache_that_cannot_be_written(compiler, monkeypatch):
    (compiler.parent / "file").touch(stat.S_IRUSR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(compiler.parent / "file"))
    with pytest.raises(Unavailable, match="file/convmixer-lab"):
        build._load()


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(("others", "runtimes"), [("", 1), ("import sklearn.ensemble; ", 2)])
def test_the_kernels_add_no_openmp_runtime_to_those_that_are_there(others, runtimes):
    script = (
        f"{others}from pathlib import Path; from convmixer.model.kernels.build import library; library();"
        "lines = Path('/proc/self/maps').read_text().splitlines();"
        "print(len({line.split()[-1] for line in lines if 'libgomp' in line or 'libomp' in line}))"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == runtimes


@pytest.mark.slow
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_other_instruction_sets_pass_the_same_tests(capability):
    tests = [f"tests/model/kernels/{name}.py" for name in ("test_depthwise", "test_native_layer")]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", *tests],
        cwd=PROJECT,
        env=os.environ | {"ATEN_CPU_CAPABILITY": capability, "CONVMIXER_CI": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
