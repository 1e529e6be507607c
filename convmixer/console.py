"""Text as it is shown on a terminal, and as it is typed there; output that is closed, or that nobody reads any more."""

import errno
import os
import select
import sys
from typing import Any

import rich.console


class Console(rich.console.Console):
    """Rich's console, where a reader that has left is an error as for `print`; Rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise


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


def printable(text: str) -> str:
    """The text with every character that is not printed written out, as `\\x1b`.

    Names of files and classes may come from anyone; a terminal would obey escape sequences in them.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, longest: int = 60) -> str:
    """The text, printable; a long one's beginning."""
    return printable(text if len(text) <= longest else f"{text[:longest]}...")


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
