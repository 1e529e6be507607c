"""A study in a real PostgreSQL, Debian's, started here by a user that may."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import standin
from conftest import wait_for
from test_driver import kill_all, start, states

from convmixer.errors import UserError
from convmixer.sweeps import storage

pytestmark = pytest.mark.slow


def _program(name: str) -> str | None:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


def _as_its_user() -> list[str]:
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    return ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a fresh server, as user:port; it takes any password."""
    if _program("initdb") is None or _program("pg_ctl") is None:
        if os.environ.get("CONVMIXER_CI"):
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="convmixer-postgres-", dir="/tmp"))
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _run("initdb", "-D", f"{folder}/data", "-U", "sweeper", "--auth=trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    _run("pg_ctl", "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
    yield f"sweeper:secret@127.0.0.1:{port}"
    _run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def _run(program: str, *arguments: str) -> None:
    command = [*_as_its_user(), _program(program), *arguments]
    subprocess.run(command, check=True, cwd="/tmp", stdout=subprocess.DEVNULL, timeout=60)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_lives_there_over_kills(server, here) -> None:
    url = f"postgresql://{server}/postgres"
    settings = {"trials": 16, "jobs": 2, "storage": url, "sampler": "random"}
    for some in (2, 6):
        process = start(here, **settings)
        wait_for(lambda some=some: len(list(here.glob("logs/standin/*"))) >= some, process)
        kill_all(process)
    standin.drive(settings)
    study = storage.load("standin", url)
    assert states(study) == ["complete"] * 16
    assert len(list(here.glob("logs/standin/*"))) == 16
    assert not (here / "logs/sweeps/standin/study.db").exists()


def test_its_password_is_not_written_down(server, here) -> None:
    standin.drive({"trials": 1, "storage": f"postgresql://{server}/postgres", "name": "discreet"})
    remembered = (here / "logs/sweeps/discreet/study.json").read_text()
    assert "sweeper@127.0.0.1" in remembered and "secret" not in remembered
    assert states(storage.load("discreet")) == ["complete"]


def test_a_database_that_is_not_there_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match=r"--storage postgresql\S+ can't be used: .*"):
        standin.drive({"trials": 1, "storage": "postgresql://nobody:pass@127.0.0.1:1/none"})
    with pytest.raises(UserError, match=r"expected a URL, as postgresql://user@host/database"):
        standin.drive({"trials": 1, "storage": "somewhere"})
