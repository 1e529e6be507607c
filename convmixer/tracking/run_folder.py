"""The files of a run folder beside labml's own run.yaml, configs.yaml, indicators.yaml and run_log.jsonl."""

import json
from pathlib import Path
from typing import Any

INFO, CONFIGS, DIFF = "run.yaml", "configs.yaml", "source.diff"  # labml's
LOG = "log.jsonl"  # metrics, in labml's format
CONSOLE = "console.log"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
CURVES = "curves.png"
LOCK = ".lock"  # held by the process that trains
SENT = "sent.json"  # what labml servers elsewhere have of it
SENDING = ".sending"  # held by the process that sends it to one


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last one that a kill cut short is left out."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]
