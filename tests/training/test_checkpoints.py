"""Checkpoints are whole or refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROJECT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convmixer.errors import UserError
from convmixer.training import checkpoints


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"step": 3, "model": {"weight": torch.arange(100.0)}})
    return path


def test_what_is_saved_is_loaded_also_by_plain_torch(file: Path) -> None:
    assert torch.equal(checkpoints.load(file)["model"]["weight"], torch.arange(100.0))
    assert torch.load(file, weights_only=True)["step"] == 3


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_or_a_cut_anywhere_is_found(file: Path, data: st.DataObject) -> None:
    whole = file.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    other = file.with_name("damaged.pt")
    for content in (bytes(damaged), whole[:place], whole + b"\0"):
        other.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged\.pt: the checkpoint is damaged"):
            checkpoints.load(other)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """Even one with a right checksum: `weights_only` refuses all but tensors and plain values."""

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "was-here"),))

    checkpoints.save(tmp_path / "evil.pt", {"model": Evil()})
    with pytest.raises(UserError, match="holds more than tensors and plain values"):
        checkpoints.load(tmp_path / "evil.pt")
    assert not (tmp_path / "was-here").exists()


def test_a_format_of_the_future_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT", 99)
    checkpoints.save(tmp_path / "new.pt", {})
    monkeypatch.undo()
    with pytest.raises(UserError, match="checkpoint has format 99, this version reads 1"):
        checkpoints.load(tmp_path / "new.pt")


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits as Linux has them")
def test_a_disk_that_fills_leaves_the_file_that_was_there(file: Path) -> None:
    """The file size limit of a process stands for the end of the disk: writing fails in the middle."""
    script = (
        "import resource, signal, sys, torch; from pathlib import Path\n"
        "from convmixer.training import checkpoints\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: checkpoints.save(Path(sys.argv[1]), {'weight': torch.zeros(100_000)})\n"
        "except OSError: sys.exit(7)\n"
    )
    before = file.read_bytes()
    ended = subprocess.run([sys.executable, "-c", script, str(file)], env=os.environ | {"PYTHONPATH": str(PROJECT)})
    assert ended.returncode == 7
    assert file.read_bytes() == before
    assert [f.name for f in file.parent.iterdir()] == ["last.pt"]


def test_every_bit_of_the_end_counts(file: Path) -> None:
    """The checksum's own length too, which stands between what it is of and the checksum."""
    whole = file.read_bytes()
    for place in range(len(whole) - 66, len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match="the checkpoint is damaged"):
            checkpoints.load(file)
