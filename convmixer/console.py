"""Formats text for the terminal, and handles output that is closed or that nobody reads any more."""

import errno
import io
import os
import select
import sys
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

JOINERS = "\u200c\u200d"  # without which Persian and Hindi, and many emoji, are spelt wrong


def rich_console(**options: Any) -> "Console":
    """Return Rich's console, where a reader that has left is an error as for `print`; Rich would end the process.

    Rich is imported when it is first used: `--help` starts in half the time without it.
    """
    from rich.console import Console

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:
            raise

    return OurConsole(**options)


def say(line: str) -> None:
    """Print a line at once. That its reader has left is no error here: `StopRequest` notes it."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        pass
    except OSError as error:
        if error.errno != errno.EIO or not let_go_of_gone_output():
            raise


def let_go_of_gone_output() -> bool:
    """Lead standard output and error to nowhere where their reader has left, or their terminal is closed.

    What is printed from then on would fail, and with it whatever remains to be done. True where one was gone.
    """
    gone = [number for number in (1, 2) if _is_gone(number)]
    if gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in gone:
            os.dup2(nowhere, number)
        os.close(nowhere)
    return bool(gone)


def _is_gone(number: int) -> bool:
    if not hasattr(select, "poll"):  # on Windows
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def open_closed_streams() -> None:
    """Lead to nowhere what was closed when this process was started, as by `>&-`.

    Otherwise the next file that is opened gets the stream's number, and what is printed goes into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None and not _is_open(number):
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (for as long as the process is there)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def composed(name: str) -> str:
    """Write a name with its accents as one character each: a Mac's names have them apart, and look the same."""
    return unicodedata.normalize("NFC", name)


def is_plain(text: str) -> bool:
    """Return True if text has only printable characters and spaces of any kind: nothing that a terminal would obey."""
    return text.isprintable() or all(map(_is_plain, text))


def _is_plain(character: str) -> bool:
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"


def printable(text: str) -> str:
    """Return the text with every character that is not plain written as an escape, such as `\\x1b`.

    Names of files and classes may come from anyone; a terminal would obey escape sequences in them.
    """
    return text if text.isprintable() else "".join(c if _is_plain(c) else ascii(c)[1:-1] for c in text)


def escape_unprintable() -> None:
    """Let standard output and error write out what their encoding can't hold, as `\\xe9` or `\\udcff`.

    Output may be ASCII only, and names of files may be bytes that are no UTF-8: neither must end a command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shortened(text: str, longest: int = 60) -> str:
    """Return the text, printable; of a long one the beginning."""
    return printable(text if len(text) <= longest else f"{text[:longest]}...")


def one_line(error: object, longest: int = 200) -> str:
    """Return an error's message on one line of at most `longest` characters, or its type's name if it is empty."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def as_argument(name: str, value: Any) -> str:
    """Return the command-line text that gives the key `name` this value."""
    if isinstance(value, list):
        value = f"[{','.join(map(str, value))}]"
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"{name}={text}"


def duration(seconds: float) -> str:
    """Return a number of seconds in words: 75.2 becomes `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(number: float, noun: str) -> str:
    """Return a number with its noun in the right form: `1 epoch`, `2 epochs`, `1,000 images`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:.4g}"
    return f"{shown} {noun}" if shown == "1" else f"{shown} {noun}s"


def file_size(n_bytes: int) -> str:
    """Return the size of a file in words: 1536 becomes `1.5 KiB`, 300,000,000 becomes `286.1 MiB`."""
    return f"{n_bytes / 2**20:.1f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.1f} KiB"


def as_arguments(values: Mapping[str, Any] | None) -> str:
    """Return the command-line text that gives all these keys their values; nothing for none."""
    return " ".join(as_argument(name, value) for name, value in (values or {}).items())
