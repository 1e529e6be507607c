"""Writes what was recorded of a run to one file: CSV, JSON or Parquet."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convmixer.errors import UserError
from convmixer.files.atomic import check_output, write_atomically
from convmixer.tracking.runs import Run

STANDARD_OUTPUT = "-"


def write_csv(run: Run, path: str, option: str) -> None:
    """Write the metrics, a row for each step and a column for each metric.

    Args:
        option: the command-line option that names `path`, for errors.

    Raises:
        UserError: the file can't be written.
    """
    _write(run.metrics.to_csv().encode(), path, option)


def write_json(run: Run, path: str, option: str) -> None:
    """Write who the run is, its status, configs, summary and metrics. Raises as `write_csv` does.

    A value that is not finite, which JSON has no word for, is null; one that was not measured at a step is left out.
    """
    content = {**_about(run), "metrics": [{"step": step} | _finite(values) for step, values in run.points.items()]}
    _write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode(), path, option)


def write_parquet(run: Run, path: Path, option: str) -> None:
    """Write the metrics as columns; all else is JSON in the file's metadata, by the key `convmixer`.

    Raises:
        UserError: pyarrow is not installed, or the file can't be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{option} needs pyarrow: install it with: pip install '.[parquet]'") from None
    table = pyarrow.Table.from_pandas(run.metrics.reset_index(), preserve_index=False)
    about = {"convmixer": json.dumps(_about(run), allow_nan=False)}
    content = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table.replace_schema_metadata((table.schema.metadata or {}) | about), content)
    _write(content.getvalue().to_pybytes(), str(path), option)


WRITERS: dict[str, Callable[[Run, Any, str], None]] = {
    "--csv": write_csv,
    "--json": write_json,
    "--parquet": write_parquet,
}


def _about(run: Run) -> dict[str, Any]:
    info = run.info
    date = f"{info['trial_date']} {info['trial_time']}"
    about = {"run": run.uuid, "name": info["name"], "comment": info["comment"], "tags": info["tags"], "begun": date}
    configs = {name: value for name, value in run.configs.items() if name != "tracking.app_url"}
    return about | _finite({"status": run.status, "configs": configs, "summary": run.summary})


def _finite(value: Any) -> Any:
    """Return the value with None for numbers that are not finite, and text for what JSON can't hold."""
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, int | str) else str(value)


def _write(content: bytes, path: str, option: str) -> None:
    if path == STANDARD_OUTPUT:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    check_output(Path(path), option)
    try:
        write_atomically(Path(path), content)
    except OSError as error:
        raise UserError(f"{option} {path}: can't be written: {error.strerror}") from None
