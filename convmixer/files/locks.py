"""Looks at a lock without taking it for more than a moment, and without writing anything."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None


def is_held(path: Path) -> bool | None:
    """Say whether a process on this machine holds the `FileLock` at `path`; None where the file may not be read.

    `FileLock` itself opens the file for writing, so that another user's lock looks as if nobody held it.
    """
    if fcntl is None:
        return path.exists() and _can_not_be_taken(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others who look at the same time succeed too
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _can_not_be_taken(path: Path) -> bool | None:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return None
