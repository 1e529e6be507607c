"""The commands `sweep run` (the default of `sweep`), `sweep list`, `sweep show` and `sweep dashboard`."""

import sys
from pathlib import Path
from typing import Any

import click

from convmixer.commands import completion
from convmixer.commands.shared import DefaultGroup, pass_configs
from convmixer.errors import UserError

OTHERS = ("run", "list", "show", "dashboard")
NAME = click.argument("name", default="last", metavar="[NAME]")
STORAGE = click.option(
    "--storage", metavar="URL", help="postgresql://user@host/database; default: a file in the sweep's folder."
)


@click.group(
    cls=DefaultGroup,
    default="run",
    is_argument=lambda word: word not in OTHERS,
    epilog="Example: experiment.py sweep recipe=small d_model=64,128 'optimizer.learning_rate=log(1e-4,1e-1)' "
    "--trials 30. `sweep run --help` has all options.",
)
def sweep() -> None:
    """Train with many values of some keys and find the best.

    VALUES: a,b,c  range(1,9,2)  uniform(a,b)  log(a,b)  int(a,b)  intlog(a,b)  bool. 'KEY=VALUES if OTHER=VALUE'
    searches KEY only where OTHER has that value.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("sweep needs more packages: install them with: pip install '.[sweep]'") from None


@sweep.command()
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUES]...", shell_complete=completion.complete_overrides)
@click.option("--space", type=click.Path(path_type=Path), metavar="FILE.yaml", help="YAML file of keys and values.")
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Number of trials, including those of earlier starts; default: every point of a space of choices, else 20.",
)
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid", "cmaes", "qmc"]),
    help="How the values of the next trial are chosen; default: grid if every point is to be tried, else tpe.",
)
@click.option(
    "--pruner",
    type=click.Choice(["none", "median", "halving", "hyperband"]),
    default="none",
    show_default=True,
    help="How bad trials are stopped early.",
)
@click.option(
    "--objective", metavar="METRIC", default="accuracy.valid", show_default=True, help="The metric to optimize."
)
@click.option(
    "--direction",
    type=click.Choice(["maximize", "minimize"]),
    help="Which values are better; needed only for your own metric.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Seed of the search itself.")
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=1,
    help="Runs for each trial, with different seeds; their mean counts.",
)
@click.option("--name", help="Name of the sweep; default: made from its keys.")
@click.option("--jobs", type=click.IntRange(1), help="Runs at the same time; default: one for each GPU, or one.")
@click.option("--retry", type=click.IntRange(0), default=0, help="How many times a failed trial is resumed.")
@click.option(
    "--timeout",
    metavar="TIME",
    help="Stop after this time, such as 90s, 30m or 2h; the same command continues the sweep.",
)
@click.option(
    "--stall", metavar="TIME", help="Stop a run that has recorded nothing for this time; it counts as failed."
)
@STORAGE
@click.option("--ray", metavar="auto|ADDRESS", help="Train on the machines of a Ray cluster.")
@click.option("--gpus", type=click.FloatRange(0), default=0, help="With --ray: GPUs for each run.")
@click.option("--cpus", type=click.FloatRange(0, min_open=True), default=1, help="With --ray: CPU cores for each run.")
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
@pass_configs
def run(configs_class: type, overrides: tuple[str, ...], **options: Any) -> None:
    """Start or continue a sweep (the default command).

    The same command again continues up to --trials.
    """
    from convmixer.sweeps.launch import Options, launch

    launch(configs_class, overrides, Options(**options))


@sweep.command(name="list")
def list_() -> None:
    """List all sweeps, the newest last."""
    from convmixer.sweeps import report, storage

    names = storage.all_names()
    if not names:
        print(f"there are no sweeps in {storage.sweeps_folder()}")
    for name in names:
        try:
            summary = report.summary(storage.load(name))
        except UserError as error:
            summary = str(error)
        print(f"{name}: {summary}")


@sweep.command()
@NAME
@click.option("--csv", metavar="FILE", help="Write the trials to FILE as CSV; - writes to standard output.")
@STORAGE
def show(name: str, csv: str | None, storage: str | None) -> None:
    """Show the results of a sweep.

    It prints the trials, the importance of keys and the best command, and draws the sweep's page. NAME is the last
    sweep by default.
    """
    from convmixer.sweeps import report
    from convmixer.sweeps.storage import load

    study = load(name, storage)
    if csv == "-":
        report.table(study).to_csv(sys.stdout, index=False)
        return
    if csv is not None:
        _write_csv(report.table(study), Path(csv))
    report.show(study)


def _write_csv(table: Any, path: Path) -> None:
    try:
        table.to_csv(path, index=False)
    except OSError as error:
        raise UserError(f"--csv {path}: can't be written: {error.strerror}") from None


@sweep.command()
@NAME
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@STORAGE
def dashboard(name: str, port: int, storage: str | None) -> None:
    """Serve Optuna's dashboard of a sweep.

    Only browsers on this machine can open it.
    """
    from convmixer.sweeps.optuna_dashboard import serve

    serve(name, port, storage)
