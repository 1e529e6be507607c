"""The command line. `main(configs_class)` is what `experiment.py`, and a script with a `Configs` of its own, call."""

import logging
import sys

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
from convmixer.console import escape_unprintable, printable
from convmixer.errors import Interrupted, SomeFailed, TrainingFault, UserError
from convmixer.training.distributed import torchrun

COMMANDS = (train, resume, evaluate, predict, export, import_, configs, check, runs, dashboard, sweep)
TOGETHER = {"train", "resume"}  # what several workers that torchrun starts can do
LONGEST_LINE = 1500  # characters; names in a stranger's archive may be endless


class CommandLine(DefaultGroup):
    """The group of all commands; under torchrun only some of them."""

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
        try:
            text = "\n".join(map(printable, record.getMessage().split("\n")))
            click.echo(text, err=record.levelno >= logging.WARNING)
        except (OSError, ValueError):
            pass  # whoever read the output has gone; what was to be told must not end what goes on


def main(configs_class: type | None = None, arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    0: done; 1: a run failed; 2: wrong input; 129, 130 and 143: stopped by a signal.

    Args:
        configs_class: a subclass of `convmixer.configs.Configs` with parts of your own; that class itself by default.
        arguments: in place of `sys.argv[1:]`.
    """
    escape_unprintable()
    log = logging.getLogger("convmixer")
    log.handlers, log.propagate = [_Echo()], False
    log.setLevel(logging.INFO if torchrun.rank() == 0 else logging.ERROR)
    sys.exit(_run(configs_class, arguments))


def _run(configs_class: type | None, arguments: list[str] | None) -> int:
    try:
        command_line.main(arguments, standalone_mode=False, obj=configs_class)
    except (UserError, TrainingFault, SomeFailed) as error:
        return _fail("error", str(error), error.exit_status)
    except Interrupted as stop:
        return _fail("interrupted", str(stop), stop.exit_status)
    except click.ClickException as error:
        return _fail("error", f"command line: {error.format_message()}", 2)
    except click.Abort:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def _fail(kind: str, line: str, status: int) -> int:
    line = printable(" ".join(line.split()))
    shown = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
    if torchrun.claim_error_message():
        print(f"{kind}: {shown}", file=sys.stderr)
    return status
