"""Keeps what a user changed on the pages (names, notes, charts, archived) in the run's folder, where they belong."""

import json
from pathlib import Path
from typing import Any

from convmixer.dashboard.json_values import MOST_EDITS, parse_plain
from convmixer.errors import UserError
from convmixer.files.atomic import write_atomically
from convmixer.files.untrusted import read_bytes

EDITS = "dashboard.json"


class Edits:
    """A small JSON file, there only while it holds something."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EDITS
        self._values: dict[str, Any] = {}

    def read(self) -> None:
        """Take over what the file holds now; nothing where it is missing, damaged or larger than `MOST_EDITS`."""
        try:
            values = parse_plain(read_bytes(self._path, MOST_EDITS))
        except (UserError, ValueError):
            values = {}
        self._values = values if isinstance(values, dict) else {}

    def get(self, name: str, default: Any) -> Any:
        """Return an edit, or the default where there is none of the default's type."""
        value = self._values.get(name, default)
        return value if isinstance(value, type(default)) else default

    def set(self, name: str, value: Any, default: Any) -> None:
        """Keep an edit; forget it where it is as the default is.

        Raises:
            OSError: it can't be written; the edits are as they were.
            ValueError: the edits of this run are too large.
        """
        values = {key: kept for key, kept in self._values.items() if key != name}
        if value != default:
            values[name] = value
        if values != self._values:
            self._write(values)
            self._values = values

    def _write(self, values: dict[str, Any]) -> None:
        content = (json.dumps(values, indent=2) + "\n").encode()
        if len(content) > MOST_EDITS:
            raise ValueError(f"the edits of a run may have {MOST_EDITS:,} bytes")
        if values:
            write_atomically(self._path, content)
        else:
            self._path.unlink(missing_ok=True)
