"""What a user changed on the pages (names, notes, charts, archived), in the run's folder: it goes where that goes."""

import json
from pathlib import Path
from typing import Any

from convmixer.files.atomic import write_atomically

EDITS = "dashboard.json"


class Edits:
    """A small JSON file, there only while it holds something."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EDITS
        self._values: dict[str, Any] = {}

    def read(self) -> None:
        """What the file holds now; nothing where it is missing or damaged."""
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            values = {}
        self._values = values if isinstance(values, dict) else {}

    def get(self, name: str, default: Any) -> Any:
        """An edit, where there is one of the default's type."""
        value = self._values.get(name, default)
        return value if isinstance(value, type(default)) else default

    def set(self, name: str, value: Any, default: Any) -> None:
        """Keep an edit; forget it where it is as the default is."""
        before = dict(self._values)
        self._values.pop(name, None)
        if value != default:
            self._values[name] = value
        if self._values != before:
            self._write()

    def _write(self) -> None:
        if not self._values:
            self._path.unlink(missing_ok=True)
            return
        write_atomically(self._path, (json.dumps(self._values, indent=2) + "\n").encode())
