"""Starts the command line for `python -m convmixer`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if not __package__:  # started by its path, as a sweep starts its runs: find the package, not the modules in it
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from convmixer.cli import main

    main()
