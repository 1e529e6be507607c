"""The command line. `experiment.py`, and scripts with a `Configs` of their own, call `main(configs_class)`."""

import difflib
import errno
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
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
from convmixer.commands.set_ import set_
from convmixer.commands.shared import DefaultGroup
from convmixer.commands.sweep import sweep
from convmixer.commands.train import train
from convmixer.console import escape_unprintable, let_go_of_gone_output, open_closed_streams, printable
from convmixer.errors import Interrupted, SomeFailed, TrainingFault, UserError
from convmixer.training.distributed import torchrun
from convmixer.training.openmp import spin_briefly

COMMANDS = (train, resume, evaluate, predict, export, import_, configs, check, runs, set_, dashboard, sweep)
TOGETHER = {"train", "resume"}  # the commands that torchrun may start
LONGEST_LINE = 1500  # characters; names in a stranger's archive may be very long


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
            raise UserError(f"command line: {args[0]} runs in one process: start it with python, not with torchrun")
        if ctx.resilient_parsing:  # a word is being completed
            return super().resolve_command(ctx, args)
        if args[0] not in self.commands:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"did you mean {near[0]}?" if near else _key_hint(args[0], args, ctx.obj)
            raise UserError(f"command line: No such command {args[0]!r}; {hint or '--help lists the commands'}")
        return super().resolve_command(ctx, args)


def _key_hint(word: str, arguments: Sequence[str], configs_class: type | None) -> str | None:
    """Return a hint for an option or a command that was meant as a key: `--epochs 3` and `epochs 3` are `epochs=3`.

    Args:
        word: the option or the command.
        arguments: the words of the command line, which has it.
    """
    from convmixer.configs import Configs
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import nearest_key

    keys = keys_of(configs_class or Configs)
    key = nearest_key(word.lstrip("-").replace("-", "_"), keys, keys)
    heads = ((*argument.partition("="), following) for argument, following in pairwise([*arguments, ""]))
    given = next((value if equals else following for head, equals, value, following in heads if head == word), "")
    return f"a key is given as KEY=VALUE: did you mean {key}={given or 'VALUE'}?" if key else None


@click.group(
    cls=CommandLine,
    default="train",
    is_argument=lambda word: "=" in word or word.startswith("-"),
    epilog="Without a command, it trains. Examples: `python experiment.py epochs=1 d_model=64` trains one epoch; "
    "`python experiment.py configs` lists all keys.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="convmixer-lab")
def command_line() -> None:
    """Train, watch and export ConvMixers on small images.

    Every part and every number is a key. Change it with KEY=VALUE; `configs` lists all keys.
    """


for command in COMMANDS:
    command_line.add_command(command)


class _Echo(logging.Handler):
    """A log handler that prints: news to standard output, warnings to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = "\n".join(map(printable, record.getMessage().split("\n")))
            click.echo(text, err=record.levelno >= logging.WARNING)
        except (OSError, ValueError):
            pass  # whoever read the output has gone; what was to be told must not end what goes on


def main(configs_class: type | None = None, arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    0: done; 1: a run failed; 2: wrong input; 129, 130 and 143: stopped by a signal; 141: the reader of what is printed
    has left before the end.

    Args:
        configs_class: a subclass of `convmixer.configs.Configs` with your own parts; None: `Configs` itself.
        arguments: the words of the command line; None: `sys.argv[1:]`.
    """
    spin_briefly()
    open_closed_streams()
    escape_unprintable()
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
    except click.NoSuchOption as error:
        hint = _key_hint(error.option_name, arguments or sys.argv[1:], configs_class)
        message = f"command line: {error.format_message().rstrip('.')}"
        return _fail("error", f"{message}; {hint}" if hint else message, 2)
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
