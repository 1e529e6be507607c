"""Text as it is shown on a terminal, and as it is typed there."""

import io
import sys
from typing import Any


def printable(text: str) -> str:
    """The text with every character that is not printed written out, as `\\x1b`.

    Names of files and classes may come from anyone; a terminal would obey escape sequences in them.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def escape_unprintable() -> None:
    """Let standard output and error write out what their encoding can't hold, as `\\xe9` or `\\udcff`.

    Output may be ASCII only, and names of files may be bytes that are no UTF-8: neither must end a command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def one_line(error: object, longest: int = 200) -> str:
    """What an error says, on one line of at most `longest` characters; its type's name if it says nothing."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def as_argument(name: str, value: Any) -> str:
    """The command-line text that gives the key `name` this value."""
    if isinstance(value, list):
        value = f"[{','.join(map(str, value))}]"
    return f"{name}={'none' if value is None else value}"


def duration(seconds: float) -> str:
    """Seconds in words: 75.2 is `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
