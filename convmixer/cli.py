"""The command line. `main(configs_class)` is what `experiment.py`, and a script with a `Configs` of its own, call."""

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from convmixer import __version__
from convmixer.commands.check import check
from convmixer.commands.configs import configs
from convmixer.commands.dashboard import dashboard
from convmixer.commands.evaluate import evaluate
from convmixer.commands.export import export
from convmixer.commands.import_ import import_
from convmixer.commands.predict import predict
from convmixer.commands.resume import resume
from convmixer.commands.runs import runs
from convmixer.commands.shared import DefaultGroup
from convmixer.commands.sweep import sweep
from convmixer.commands.train import train
from convmixer.console import let_go_of_gone_output, open_closed_streams, printable
from convmixer.errors import Interrupted, SomeFailed, TrainingFault, UserError
from convmixer.training.distributed import torchrun

COMMANDS = (train, resume, evaluate, predict, export, import_, configs, check, runs, dashboard, sweep)
TOGETHER = {"train", "resume"}  # what several workers that torchrun starts can do
LONGEST_LINE = 1500  # characters; names in a stranger's archive may be endless


class ReaderLeft(Exception):
    """Nobody reads what is printed any more. A `BrokenPipeError` Click would make an exit status of 1."""


@contextmanager
def _reader_left() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderLeft from None


class CommandLine(DefaultGroup):
    """The group of all commands; under torchrun only some of them."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the command line, or answer `--help`."""
        with _reader_left():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command that was named."""
        with _reader_left():
            super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if torchrun.is_launched() and args[0] in self.commands.keys() - TOGETHER:
            raise UserError(f"command line: {args[0]} is for one process: start it with python, not with torchrun")
        return super().resolve_command(ctx, args)


@click.group(
    cls=CommandLine,
    default="train",
    is_argument=lambda word: "=" in word or word.startswith("-"),
    epilog="Without a command: train. Try: experiment.py epochs=1 d_model=64 | experiment.py configs",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="convmixer-lab")
def command_line() -> None:
    """Train, watch and take away ConvMixers on small images.

    Every part and number is a key: give it anew as KEY=VALUE. `configs` lists the keys.
    """


for command in COMMANDS:
    command_line.add_command(command)


class _Echo(logging.Handler):
    """What parts of the package log: news to standard output, warnings to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = "\n".join(map(printable, record.getMessage().split("\n")))
        with suppress(BrokenPipeError):  # whoever prints results will meet it too
            click.echo(lines, err=record.levelno >= logging.WARNING)


def main(configs_class: type | None = None, arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    0: done; 1: a run failed; 2: wrong input; 129, 130 and 143: stopped by a signal; 141: the reader of what is printed
    has left before the end.

    Args:
        configs_class: a subclass of `convmixer.configs.Configs` with parts of your own; that class itself by default.
        arguments: in place of `sys.argv[1:]`.
    """
    open_closed_streams()
    log = logging.getLogger("convmixer")
    log.handlers, log.propagate = [_Echo()], False
    log.setLevel(logging.INFO if torchrun.rank() == 0 else logging.ERROR)
    sys.exit(_run(configs_class, arguments))


def _run(configs_class: type | None, arguments: list[str] | None) -> int:
    try:
        command_line.main(arguments, standalone_mode=False, obj=configs_class)
        sys.stdout.flush()
    except (UserError, TrainingFault, SomeFailed) as error:
        return _fail("error", str(error), error.exit_status)
    except Interrupted as stop:
        return _fail("interrupted", str(stop), stop.exit_status)
    except click.ClickException as error:
        return _fail("error", f"command line: {error.format_message()}", 2)
    except click.Abort:
        return 130
    except (BrokenPipeError, ReaderLeft):
        return 141
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return _fail("error", f"the output can't be written: {error.strerror}", 1)
    except KeyboardInterrupt:
        return 130
    finally:
        let_go_of_gone_output()  # what is left in buffers is written when Python ends
    return 0


def _fail(kind: str, line: str, status: int) -> int:
    line = printable(" ".join(line.split()))
    shown = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
    if torchrun.claim_error_message():
        with suppress(OSError):
            print(f"{kind}: {shown}", file=sys.stderr, flush=True)
    return status
