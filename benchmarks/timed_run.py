"""One training by `experiment.py` in a process and a folder of its own, and how fast it was."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def train(script: Path, overrides: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Train once, and return the run's summary.

    Raises:
        CalledProcessError: the training failed.
    """
    words = [f"{key}={value}" for key, value in overrides.items()]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(script), *words, "--quiet"], cwd=folder, env=environment, check=True)
        (file,) = Path(folder).glob("logs/*/*/summary.json")
        return json.loads(file.read_text())


def images_per_second(summary: Mapping[str, Any]) -> float:
    """Return the speed of a training after its first update."""
    batch = summary["images"] / summary["steps"]
    return (summary["images"] - batch) / (summary["seconds"] - summary["warm_up_seconds"])
