"""The commands `sweep run`, which is meant where no other word is given, `list`, `show` and `dashboard`."""

import sys
from pathlib import Path
from typing import Any

import click

from convmixer.commands.shared import DefaultGroup, pass_configs
from convmixer.errors import UserError

OTHERS = ("run", "list", "show", "dashboard")
NAME = click.argument("name", default="last", metavar="[NAME]")
STORAGE = click.option(
    "--storage", metavar="URL", help="postgresql://user@host/database; none: a file in the study's folder."
)


@click.group(
    cls=DefaultGroup,
    default="run",
    is_argument=lambda word: word not in OTHERS,
    epilog="Example: experiment.py sweep recipe=small d_model=64,128 'optimizer.learning_rate=log(1e-4,1e-1)' "
    "--trials 30. `sweep run --help` has all options.",
)
def sweep() -> None:
    """Search: keys with several values, many runs, the best of them.

    a,b,c  range(1,9,2)  uniform(a,b)  log(a,b)  int(a,b)  intlog(a,b)  bool, and 'KEY=VALUES if OTHER=VALUE'.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("sweeps need further packages: pip install '.[sweep]'") from None


@sweep.command()
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUES]...")
@click.option("--space", type=click.Path(path_type=Path), metavar="FILE.yaml", help="YAML file of keys and values.")
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="In all, earlier starts counted; none: every point of a space of choices, else 20.",
)
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid", "cmaes", "qmc"]),
    help="none: grid where every point is to be tried, else tpe.",
)
@click.option(
    "--pruner", type=click.Choice(["none", "median", "halving", "hyperband"]), default="none", show_default=True
)
@click.option("--objective", metavar="METRIC", default="accuracy.valid", show_default=True)
@click.option("--direction", type=click.Choice(["maximize", "minimize"]), help="For a metric of your own.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Of the search itself.")
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=1, help="Runs for each point, from `seed` on; their mean counts."
)
@click.option("--name", help="Of the study; none: from its keys.")
@click.option("--jobs", type=click.IntRange(1), help="Runs at once; none: one for each GPU, or one.")
@click.option("--retry", type=click.IntRange(0), default=0, help="Go on this often with a trial that failed.")
@click.option("--timeout", metavar="TIME", help="Stop after 90s, 30m, 2h; the same command goes on.")
@click.option("--stall", metavar="TIME", help="Stop a run that has recorded nothing for so long: it has failed.")
@STORAGE
@click.option("--ray", metavar="auto|ADDRESS", help="Train on the machines of a Ray cluster.")
@click.option("--gpus", type=click.FloatRange(0), default=0, help="With --ray: of each run.")
@click.option("--cpus", type=click.FloatRange(0, min_open=True), default=1, help="With --ray: of each run.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@pass_configs
def run(configs_class: type, overrides: tuple[str, ...], **options: Any) -> None:
    """Search (the command where none is named). The same command again goes on to --trials."""
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
@click.option("--csv", metavar="FILE", help="Write the trials there, or to standard output (-).")
@STORAGE
def show(name: str, csv: str | None, storage: str | None) -> None:
    """Show a sweep (NAME, or the last): trials, importance of keys, the best command; draw its pictures and page."""
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
    """Open Optuna's dashboard of a sweep in a browser, on this machine only."""
    from convmixer.sweeps.optuna_dashboard import serve

    serve(name, port, storage)
