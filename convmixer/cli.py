"""The command line. `main(configs_class)` is what `experiment.py`, and a script with a `Configs` of its own, call."""

import logging
import sys
from pathlib import Path
from typing import Any

import click

from convmixer import __version__
from convmixer.errors import Interrupted, TrainingFault, UserError
from convmixer.sweeps.commands import sweep

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
CONFIG = click.option("--config", type=click.Path(path_type=Path), help="YAML file of keys and values.")
QUIET = click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")


class TrainByDefault(click.Group):
    """A group whose first word may be left out: then it is `train`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if "=" in args[0] or args[0].startswith("-"):
            args = ["train", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_help = args and args[0] in ("--help", "-h", "--version")
        if not args or (args[0].startswith("-") and not is_help):
            args = ["train", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=TrainByDefault,
    epilog="Without a command: train. Try: experiment.py epochs=1 d_model=64 | experiment.py configs",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="convmixer-lab")
def commands() -> None:
    """Train, watch and take away ConvMixers on small images.

    Every part and number is a key: give it anew as KEY=VALUE. `configs` lists the keys.
    """


@commands.command()
@OVERRIDES
@CONFIG
@QUIET
@click.pass_obj
def train(configs_class: type, overrides: tuple[str, ...], config: Path | None, quiet: bool) -> None:
    """Train a new run (the command where none is named)."""
    from convmixer import session
    from convmixer.seeds import train_seeds

    if quiet:
        logging.getLogger("convmixer").setLevel(logging.WARNING)
    session.use_project_folder()
    given = _given(configs_class, overrides, config)
    if given.get("seeds", 1) > 1:
        train_seeds(given, quiet)
        return
    conf = configs_class()
    conf.override(given)
    session.prepare(conf)
    session.begin(conf, quiet)


@commands.command()
@click.argument("run")
@OVERRIDES
@QUIET
@click.pass_obj
def resume(configs_class: type, run: str, overrides: tuple[str, ...], quiet: bool) -> None:
    """Go on with RUN (a uuid, its beginning, or `last`) to the same end as if it had not stopped."""
    from convmixer import session
    from convmixer.overrides import split_assignments
    from convmixer.tracking import runs

    session.use_project_folder()
    session.resume(configs_class, runs.run(run), split_assignments(overrides), quiet)


@commands.command()
@click.argument("run")
@OVERRIDES
@click.pass_obj
def evaluate(configs_class: type, run: str, overrides: tuple[str, ...]) -> None:
    """Measure test accuracy again, of RUN (a uuid, its beginning, `last`, `best`) or a .safetensors file."""
    from convmixer import session
    from convmixer.testing import test

    session.use_project_folder()
    test(configs_class, run, overrides)


@commands.command()
@click.argument("run")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="FILE.safetensors")
@click.pass_obj
def export(configs_class: type, run: str, output: Path) -> None:
    """Write the tested weights of RUN to a .safetensors file, and a model card beside it."""
    from convmixer import session
    from convmixer.export import export_weights
    from convmixer.tracking import runs

    session.use_project_folder()
    export_weights(configs_class, runs.run(run), output)


@commands.command()
@OVERRIDES
@CONFIG
@click.pass_obj
def configs(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> None:
    """List every key: its value (* where it was changed), default, what it takes, and what it means."""
    from convmixer.listing import list_configs

    list_configs(configs_class, _given(configs_class, overrides, config))


@commands.command()
@OVERRIDES
@CONFIG
@click.pass_obj
def check(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> None:
    """Overfit one batch to 100 %, or say what is wrong. A network that can't do this learns nothing."""
    from convmixer import session
    from convmixer.overfit import overfit

    session.use_project_folder()
    conf = configs_class()
    conf.override(_given(configs_class, overrides, config))
    overfit(conf)


@commands.command()
def runs() -> None:
    """List all runs."""
    from convmixer.listing import list_runs

    list_runs()


commands.add_command(sweep)


def _given(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> dict[str, Any]:
    """The checked overrides of `--config` and the command line; the latter win."""
    from convmixer.keys import keys_of
    from convmixer.overrides import check, read_config_file, split_assignments

    keys = keys_of(configs_class)
    typed = check(split_assignments(overrides), keys, "command line")
    if config is None:
        return typed
    return check(read_config_file(config), keys, f"--config {config}") | typed


class _Echo(logging.Handler):
    """What parts of the package log: news to standard output, warnings to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=record.levelno >= logging.WARNING)


def main(configs_class: type | None = None, arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a run failed, 2 wrong input, 130 and 143 stopped by a signal.

    Args:
        configs_class: a subclass of `convmixer.configs.Configs` with parts of your own; that class itself by default.
        arguments: in place of `sys.argv[1:]`.
    """
    log = logging.getLogger("convmixer")
    log.handlers, log.propagate = [_Echo()], False
    log.setLevel(logging.INFO)
    sys.exit(_run(configs_class, arguments))


def _run(configs_class: type | None, arguments: list[str] | None) -> int:
    try:
        if configs_class is None:
            from convmixer.configs import Configs as configs_class
        commands.main(arguments, standalone_mode=False, obj=configs_class)
    except (UserError, TrainingFault) as error:
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
    print(f"{kind}: {' '.join(line.split())}", file=sys.stderr)
    return status
