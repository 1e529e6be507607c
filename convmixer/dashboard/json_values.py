"""Values that JSON and UTF-8 can hold: the only ones that the pages are sent, and that are kept."""

import json
import math
from typing import Any

from convmixer.files.untrusted import parse_json

MOST_EDITS = 2**20  # bytes of a run's dashboard.json


def plain(value: Any) -> Any:
    """Turn a value of a run folder into what JSON can hold: dates and numbers that are not finite become text."""
    if isinstance(value, dict):
        return {plain_text(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return plain_text(str(value))


def plain_text(text: str) -> str:
    """Write out what UTF-8 can't hold, half of a surrogate pair, as `\\\\ud800`."""
    return text.encode(errors="backslashreplace").decode()


def parse_plain(content: bytes) -> Any:
    """Parse JSON that comes from a page or from a run folder.

    Raises:
        ValueError: it is no JSON, is nested deeply, or holds NaN, infinity or half of a surrogate pair.
    """
    value = parse_json(content)
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value
