"""Looks at a lock without taking it for more than a moment, and without writing anything."""

import fcntl
import os
from pathlib import Path


def is_held(path: Path) -> bool | None:
    """Say whether a process on this machine holds the `FileLock` at `path`; None where the file may not be read.

    `FileLock` itself opens the file for writing, so that another user's lock looks as if nobody held it.
    """
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
