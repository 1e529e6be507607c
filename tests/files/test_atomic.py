"""Files that are whole or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PROJECT

from convmixer.files import atomic
from convmixer.files.atomic import LONGEST_NAME, aside_name, clear_leftovers, write_atomically, written_whole

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from convmixer.files.atomic import written_whole
with written_whole(Path(sys.argv[1])) as file:
    file.write("half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_replaces_what_was_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "a") as file:
        file.write("half")
        file.write(str(1 // 0))
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_link_that_waits_for_it_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one at the very name that is drawn, which nobody can foresee."""
    (tmp_path / "victim").write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda n: "00" * n)
    aside = aside_name(tmp_path / "a")
    aside.symlink_to("victim")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "victim").read_text() == "precious"
    (tmp_path / "b").symlink_to("victim")
    write_atomically(tmp_path / "b", b"new")  # a link at the name itself is replaced
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "b").is_symlink()


def test_names_aside_are_not_foreseen_and_never_too_long(tmp_path: Path) -> None:
    for name in ("a", "a" * LONGEST_NAME, "字" * (LONGEST_NAME // 3)):
        path = tmp_path / name
        assert aside_name(path) != aside_name(path)
        write_atomically(path, b"content")
        assert path.read_bytes() == b"content"


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    path, other = tmp_path / "a[1]", tmp_path / ".a.lock"
    other.touch()
    ended = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], cwd=PROJECT)
    assert ended.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2 and not path.exists()
    clear_leftovers(path)
    assert os.listdir(tmp_path) == [other.name]


def test_windows_waits_until_nobody_reads_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    refusals = [PermissionError("it is open"), PermissionError("it is open")]

    def rename(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        os.rename(source, target)

    monkeypatch.setattr(atomic, "os", SimpleNamespace(name="nt", replace=rename))
    atomic.replace(new, old)
    assert old.read_text() == "new" and not refusals
    refusals += [PermissionError("it is open")] * (len(atomic.PAUSES) + 1)
    new.write_text("newer")
    with pytest.raises(PermissionError):
        atomic.replace(new, old)
