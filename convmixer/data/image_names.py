"""Tells images from other files by their names."""

from collections import Counter
from pathlib import PurePosixPath

from convmixer.console import counted, printable

EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ico", ".tga"),
)
OF_SYSTEMS = ("thumbs.db", "desktop.ini")  # which put them into every folder


def is_image(name: str, passed_over: Counter[str]) -> bool:
    """Tell if a file is an image by its name; the ending of one that is none is counted."""
    if name.lower().endswith(EXTENSIONS):
        return True
    if name.lower() not in OF_SYSTEMS:
        passed_over[PurePosixPath(name).suffix.lower() or "no ending"] += 1
    return False


def in_words(passed_over: Counter[str]) -> str:
    """The files that were passed over: `12 files without the ending of an image (.heic: 10, .txt: 2)`."""
    kinds = ", ".join(f"{printable(ending)}: {n:,}" for ending, n in passed_over.most_common(5))
    return f"{counted(passed_over.total(), 'file')} without the ending of an image ({kinds})"
