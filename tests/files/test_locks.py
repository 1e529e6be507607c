"""A look at a lock says whether it is held, on every system."""

from pathlib import Path

import pytest
from filelock import FileLock

from convmixer.files import locks


@pytest.mark.parametrize("system", ["posix", "windows"])
def test_a_lock_is_seen_and_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    if system == "windows":
        monkeypatch.setattr(locks, "fcntl", None)
    path = tmp_path / "lock"
    assert locks.is_held(path) is False
    assert not path.exists()
    with FileLock(path):
        assert locks.is_held(path) is True
    path.touch()
    assert locks.is_held(path) is False
    with FileLock(path, timeout=0):
        pass
