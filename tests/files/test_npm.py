"""Which registry npm is set to, and a file of a package."""

from pathlib import Path

import pytest
from published import tar_gz

from convmixer.errors import Unavailable
from convmixer.files import npm


def fake_npm(folder: Path, script: str) -> None:
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing else on it; the environment names no registry."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    return tmp_path


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:4873/")
    assert npm.archive_url("d3", "6.7.0") == "http://127.0.0.1:4873/d3/-/d3-6.7.0.tgz"
    assert npm.archive_url("@a/b", "1.0.0") == "http://127.0.0.1:4873/@a/b/-/b-1.0.0.tgz"


def test_else_npm_says_it(path: Path) -> None:
    fake_npm(path, '[ "$*" = "config get registry" ] && echo https://registry.example/npm/')
    assert npm.registry() == "https://registry.example/npm"


def test_there_is_no_npm(path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no npm"):
        npm.registry()


@pytest.mark.parametrize("script", ["echo undefined", "exit 1", "echo file:///etc"])
def test_npm_is_set_to_none(path: Path, script: str) -> None:
    fake_npm(path, script)
    with pytest.raises(Unavailable, match="npm is set to no registry"):
        npm.registry()


def test_npm_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm, "PATIENCE", 0.2)
    fake_npm(path, "exec /bin/sleep 5")
    with pytest.raises(Unavailable, match="npm does not say"):
        npm.registry()


def test_a_file_of_a_package() -> None:
    assert npm.member(tar_gz("package", {"dist/a.js": b"content"}), "dist/a.js") == b"content"
