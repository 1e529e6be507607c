"""The command line. `main(configs_class)` is what `experiment.py`, and a script with a `Configs` of its own, call."""

import logging
import sys
from pathlib import Path
from typing import Any

import click

from convmixer import __version__
from convmixer.console import printable
from convmixer.errors import Interrupted, SomeFailed, TrainingFault, UserError
from convmixer.pass_configs import pass_configs
from convmixer.sweeps.commands import sweep
from convmixer.training.distributed import torchrun

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
CONFIG = click.option("--config", type=click.Path(path_type=Path), help="YAML file of keys and values.")
LAYOUTS = ("timm", "authors", "labml")  # as in model/interchange.py, which takes a second to import
EXPORT_FORMATS = ("safetensors", *LAYOUTS, "pt2", "onnx")
TOGETHER = {"train", "resume"}  # what several workers that torchrun starts can do
LONGEST_LINE = 1500  # characters; names in a stranger's archive may be endless
QUIET = click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")


class TrainByDefault(click.Group):
    """A group whose first word may be left out: then it is `train`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if "=" in args[0] or args[0].startswith("-"):
            args = ["train", *args]
        if torchrun.is_launched() and args[0] in self.commands.keys() - TOGETHER:
            raise UserError(f"command line: {args[0]} is for one process: start it with python, not with torchrun")
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
@pass_configs
def train(configs_class: type, overrides: tuple[str, ...], config: Path | None, quiet: bool) -> None:
    """Train a new run (the command where none is named)."""
    from convmixer import together
    from convmixer.experiment import running as session
    from convmixer.seeds import train_seeds

    if quiet and torchrun.rank() == 0:  # the others say even less
        logging.getLogger("convmixer").setLevel(logging.WARNING)
    session.use_project_folder()
    given = _given(configs_class, overrides, config)
    if torchrun.is_launched():
        together.train(configs_class, given, quiet)
        return
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
@pass_configs
def resume(configs_class: type, run: str, overrides: tuple[str, ...], quiet: bool) -> None:
    """Go on with RUN (a uuid, its beginning, or `last`) to the same end as if it had not stopped."""
    from convmixer import reopening, together
    from convmixer.experiment import running as session
    from convmixer.overrides import split_assignments
    from convmixer.tracking import runs

    session.use_project_folder()
    changes = split_assignments(overrides)
    if torchrun.is_launched():
        together.resume(configs_class, run, changes, quiet)
        return
    reopening.resume(configs_class, runs.run(run), changes, quiet)


@commands.command()
@click.argument("run")
@OVERRIDES
@click.option(
    "--data", type=click.Path(path_type=Path), help="Labelled images: <class>/* or test/<class>/*, a folder or a .zip."
)
@click.option("--tta", is_flag=True, help="Measure also with image and mirror image averaged.")
@click.option("--json", "json_file", metavar="FILE|-", help="Write every figure to FILE; -: print that alone.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the pictures (the run's, by default).")
@pass_configs
def evaluate(
    configs_class: type,
    run: str,
    overrides: tuple[str, ...],
    data: Path | None,
    tta: bool,
    json_file: str | None,
    output: Path | None,
) -> None:
    """Measure RUN (a uuid, its beginning, `last`, `best`) or a .safetensors file on the test images, or on others."""
    from convmixer.experiment import running as session
    from convmixer.trained.evaluate import evaluate

    if json_file == "-":
        logging.getLogger("convmixer").setLevel(logging.WARNING)
    session.use_project_folder()
    evaluate(configs_class, run, overrides, data, tta, json_file, output)


@commands.command()
@click.argument("run")
@click.argument("images", nargs=-1, required=True, metavar="FILE|FOLDER|-... [KEY=VALUE]...")
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="Classes named for each image.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "jsonl"]), help="Table on a terminal, else csv.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@pass_configs
def predict(
    configs_class: type, run: str, images: tuple[str, ...], top: int, form: str | None, output: Path | None
) -> None:
    """Say what is on images of any size and format, with RUN (a uuid, `last`, `best`) or a .safetensors file.

    A folder is searched for images at any depth. - reads standard input: one image, or paths, one on each line. Exit
    status 1: some of the images could not be read.
    """
    from convmixer.experiment import running as session
    from convmixer.trained.predict import predict_files

    session.use_project_folder()
    predict_files(configs_class, run, images, form, top, output)


@commands.command()
@click.argument("run")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--format", "format_name", type=click.Choice(EXPORT_FORMATS), default="safetensors", help="What for.")
@click.option("--fold", "folded", is_flag=True, help="Fold BatchNorm, for faster inference: pt2 and onnx.")
@pass_configs
def export(configs_class: type, run: str, output: Path, format_name: str, folded: bool) -> None:
    """Take the tested weights of RUN, or those of a .safetensors file, away; a model card is written beside them."""
    from convmixer.experiment import running as session
    from convmixer.trained.export import export as write

    session.use_project_folder()
    write(configs_class, run, output, format_name, folded)


@commands.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="FILE.safetensors")
@click.option("--format", "layout", type=click.Choice(("auto", *LAYOUTS)), default="auto", help="Whose they are.")
@click.option("--trained-on", type=click.Choice(("cifar10", "imagenet")), help="Stands for the next four.")
@click.option("--classes", help="Names in the order of their labels: a,b,c or a text file of a line each.")
@click.option("--image-size", type=click.IntRange(1, 4096), help="Height and width of the images, in pixels.")
@click.option("--mean", help="Of each channel, on a scale of 0 to 1: 0.485,0.456,0.406")
@click.option("--std", help="Likewise, the deviation.")
@click.option("--activation", type=click.Choice(("GELU", "ReLU", "SiLU")), help="Which a file does not hold either.")
def import_(
    file: Path, output: Path, layout: str, trained_on: str | None, activation: str | None, **given: Any
) -> None:
    """Bring in a ConvMixer's weights from timm, the authors' code or labml_nn. No code in FILE is run."""
    from convmixer.trained.import_weights import import_weights

    import_weights(file, output, layout, trained_on, activation, given)


@commands.command()
@OVERRIDES
@CONFIG
@pass_configs
def configs(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> None:
    """List every key: its value (* where it was changed), default, what it takes, and what it means."""
    from convmixer.listing import list_configs

    list_configs(configs_class, _given(configs_class, overrides, config))


@commands.command()
@OVERRIDES
@CONFIG
@pass_configs
def check(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> None:
    """Overfit one batch to 100 %, or say what is wrong. A network that can't do this learns nothing."""
    from convmixer.experiment import running as session
    from convmixer.experiment.overfit import overfit

    session.use_project_folder()
    conf = configs_class()
    conf.override(_given(configs_class, overrides, config))
    overfit(conf)


@commands.group(invoke_without_command=True)
@click.pass_context
def runs(context: click.Context) -> None:
    """List all runs; `runs send` sends one to a labml server."""
    if context.invoked_subcommand is None:
        from convmixer.listing import list_runs

        list_runs()


@runs.command()
@click.argument("run")
@OVERRIDES
@pass_configs
def send(configs_class: type, run: str, overrides: tuple[str, ...]) -> None:
    """Send what its labml server lacks of RUN; tracking.app_url=URL names another one."""
    from convmixer import reopening
    from convmixer.experiment import running as session
    from convmixer.keys import keys_of
    from convmixer.overrides import split_assignments
    from convmixer.tracking import runs
    from convmixer.tracking.send import send as send_run

    session.use_project_folder()
    keys = keys_of(configs_class)
    given = reopening.check_changes(split_assignments(overrides), keys, ("tracking.app_url",))
    send_run(runs.run(run), given.get("tracking.app_url"))


@commands.command()
@click.option("--port", type=click.IntRange(0, 65535), default=5005, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other than loopback needs a token, printed.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
def dashboard(port: int, host: str, open_browser: bool) -> None:
    """Show all runs in labml's web app, those that train too, until Ctrl-C."""
    from convmixer.dashboard.server import serve
    from convmixer.tracking.runs import logs_folder

    serve(logs_folder(), host, port, open_browser)


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
        click.echo("\n".join(map(printable, record.getMessage().split("\n"))), err=record.levelno >= logging.WARNING)


def main(configs_class: type | None = None, arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a run failed, 2 wrong input, 129, 130 and 143 stopped by a signal.

    Args:
        configs_class: a subclass of `convmixer.configs.Configs` with parts of your own; that class itself by default.
        arguments: in place of `sys.argv[1:]`.
    """
    log = logging.getLogger("convmixer")
    log.handlers, log.propagate = [_Echo()], False
    log.setLevel(logging.INFO if torchrun.rank() == 0 else logging.ERROR)
    sys.exit(_run(configs_class, arguments))


def _run(configs_class: type | None, arguments: list[str] | None) -> int:
    try:
        commands.main(arguments, standalone_mode=False, obj=configs_class)
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
    if torchrun.is_first_to_say():
        print(f"{kind}: {shown}", file=sys.stderr)
    return status
