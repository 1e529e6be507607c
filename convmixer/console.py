"""Text as it is shown on a terminal, and as it is typed there."""

import unicodedata
from typing import Any

JOINERS = "\u200c\u200d"  # without which Persian and Hindi, and many emoji, are spelt wrong


def is_plain(text: str) -> bool:
    """Tell if text holds only what is printed, and spaces of any kind: nothing that a terminal would obey."""
    return text.isprintable() or all(map(_is_plain, text))


def _is_plain(character: str) -> bool:
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"


def printable(text: str) -> str:
    """Write out every character of the text that is not plain, as `\\x1b`.

    Names of files and classes may come from anyone; a terminal would obey escape sequences in them.
    """
    return text if text.isprintable() else "".join(c if _is_plain(c) else ascii(c)[1:-1] for c in text)


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
