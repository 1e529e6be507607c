"""Folders and files whose names are no UTF-8 or hold escape sequences, and output that can only be ASCII."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EXPERIMENT
from PIL import Image

CLASSES = (b"r\xe9d\xff", "grün".encode(), b"\x1b[31mblue")
RUN = ("data.dataset=images", "data.path=tree", "d_model=8", "n_layers=1", "patch_size=2", "steps=1")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose name is no UTF-8, with a tree of classes with odd names in it."""
    for split, n in ((b"train", 12), (b"test", 3)):
        for number, name in enumerate(CLASSES):
            folder = os.path.join(os.fsencode(tmp_path), b"project\xfe", b"tree", split, name)
            os.makedirs(folder)
            for i in range(n):
                with open(os.path.join(folder, b"%d\xff.png" % i), "wb") as file:
                    Image.new("RGB", (16, 16), (80 * number, 10 * i, 0)).save(file, format="PNG")
    return Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"project\xfe")))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_command_works_and_shows_odd_bytes_escaped(odd: Path, encoding: str) -> None:
    def output(*arguments: str) -> str:
        command = [sys.executable, str(EXPERIMENT), *arguments]
        ended = subprocess.run(command, cwd=odd, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True)
        assert ended.returncode == 0, ended.stderr.decode(errors="replace")
        return ended.stdout.decode(encoding if arguments[0] != "predict" else "utf-8")

    assert "project\\udcfe/logs" in output(*RUN, "data.validation=3")
    assert "completed" in output("runs")
    table = output("evaluate", "last")
    assert "r\\udce9d\\udcff" in table and "\\x1b[31mblue" in table
    assert ("grün" if encoding == "utf-8" else "gr\\xfcn") in table
    if encoding == "ascii":
        return
    assert '"r\\udce9d\\udcff"' in output("evaluate", "last", "--json", "-")
    assert "tree/test/r\\udce9d\\udcff/0\\udcff.png" in output("predict", "last", "tree/test", "--format", "table")
    output("predict", "last", "tree/test", "--output", "predictions.csv")
    names = [line.partition(b",")[0] for line in (odd / "predictions.csv").read_bytes().splitlines()[1:]]
    assert all(os.path.exists(os.path.join(os.fsencode(odd), name)) for name in names) and len(names) == 9
    assert "w.safetensors" in output("export", "last", "--output", "w.safetensors")
    assert "r\\udce9d\\udcff" in output("evaluate", "w.safetensors", "data.path=tree")


def test_csv_on_a_terminal_holds_no_escape_sequence(odd: Path, command: Callable) -> None:
    subprocess.run([sys.executable, str(EXPERIMENT), *RUN, "data.validation=3"], cwd=odd, check=True)
    master, slave = pty.openpty()
    arguments = ["predict", "last", "tree/test", "--format", "csv"]
    process = subprocess.Popen([sys.executable, str(EXPERIMENT), *arguments], cwd=odd, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    try:
        while chunk := os.read(master, 65536):
            seen += chunk
    except OSError:  # the other end was closed
        pass
    assert process.wait() == 0
    assert b"\\x1b[31mblue" in seen and b"\x1b" not in seen
