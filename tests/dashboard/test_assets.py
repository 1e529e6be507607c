"""Where the page's scripts come from: a registry, checked; the cache; or one line that says what is missing."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from convmixer.dashboard import assets
from convmixer.dashboard.assets import ASSETS, Asset, static_files
from convmixer.errors import UserError
from convmixer.files import download

pytest.importorskip("labml_app")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """An npm registry on loopback that answers with these bytes; there is no cache, no npm and no internet."""
    contents: dict[str, bytes] = {}
    monkeypatch.setattr(download, "PAUSES", (0.0,))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = contents.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    yield contents
    server.shutdown()
    server.server_close()


def archive(asset: Asset, content: bytes) -> dict[str, bytes]:
    """What a registry holds for a package with that one file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        member = tarfile.TarInfo(f"package/{asset.file}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    name = asset.package.rpartition("/")[2]
    return {f"/{asset.package}/-/{name}-{asset.version}.tgz": file.getvalue()}


@pytest.fixture
def one_asset(monkeypatch: pytest.MonkeyPatch) -> Asset:
    """A single small file to be had, in place of the real ones."""
    sha256 = hashlib.sha256(b"sound").hexdigest()
    asset = Asset("@scope/package", "1.2.3", "dist/file.css", "bootstrap.min.css", sha256)
    monkeypatch.setattr(assets, "ASSETS", (asset,))
    return asset


def test_fetched_once_then_cached(registry: dict[str, bytes], one_asset: Asset) -> None:
    registry.update(archive(one_asset, b"sound"))
    assert static_files()["vendor/package/dist/file.css"] == b"sound"
    registry.clear()
    assert static_files()["vendor/package/dist/file.css"] == b"sound"


def test_a_damaged_cache_is_fetched_again(registry: dict[str, bytes], one_asset: Asset, tmp_path: Path) -> None:
    registry.update(archive(one_asset, b"sound"))
    static_files()
    (kept,) = (tmp_path / "cache").rglob(one_asset.sha256)
    kept.write_bytes(b"damaged")
    assert static_files()["vendor/package/dist/file.css"] == b"sound"


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "Not Found"), (b"another file", "is not the expected one"), (b"", "is not the expected one")],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(
    registry: dict[str, bytes], one_asset: Asset, tmp_path: Path, content: bytes | None, says: str
) -> None:
    registry.update(archive(one_asset, content) if content is not None else {})
    with pytest.raises(UserError, match="npm registry") as error:
        static_files()
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "cache").rglob("*.css"))


def test_an_archive_that_is_none(registry: dict[str, bytes], one_asset: Asset) -> None:
    registry.update(dict.fromkeys(archive(one_asset, b""), b"not an archive"))
    with pytest.raises(UserError, match="damaged"):
        static_files()


def test_without_npm_and_internet(
    registry: dict[str, bytes], one_asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no npm; https://[^ ]*bootstrap.min.css can't be fetched"):
        static_files()


def test_without_npm_the_page_s_own_addresses_are_asked(
    registry: dict[str, bytes], one_asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def answer(url: str, limit: int) -> bytes:
        asked.append(url)
        return b"sound"

    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(assets, "read", answer)
    assert static_files()["vendor/package/dist/file.css"] == b"sound"
    assert asked[0].startswith("https://") and asked[0].endswith("/bootstrap.min.css")


def test_the_page_names_nothing_on_the_web() -> None:
    served = static_files()
    index = served["index.html"].decode()
    assert "https://" not in index and "integrity" not in index
    for asset in ASSETS:
        assert hashlib.sha256(served[asset.served_as]).hexdigest() == asset.sha256
        assert " " in asset.on_page or f"/{asset.served_as}" in index
    fonts = [name for name in served if name.endswith(".woff2")]
    assert len(fonts) == 3
