"""Arguments and checks that several commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from convmixer.commands import completion
from convmixer.errors import UserError

OVERRIDES = click.argument(
    "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.complete_overrides
)
RUN = click.argument("run", shell_complete=completion.complete_run)
RUN_OR_FILE = click.argument("run", shell_complete=completion.complete_run_or_file)
CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), help="YAML file with keys and values; the command line wins over it."
)
QUIET = click.option("--quiet", is_flag=True, help="Print only warnings and errors.")


class DefaultGroup(click.Group):
    """A group of commands with a default command, which runs if no command is named.

    Args:
        default: the name of a command.
        is_argument: returns True if the first word is an argument of the default command, not a command's name.
    """

    def __init__(self, *args: Any, default: str, is_argument: Callable[[str], bool], **options: Any) -> None:
        super().__init__(*args, **options)
        self.default = default
        self.is_argument = is_argument

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = args and args[0] in ("--help", "-h", "--version")
        if not args and ctx.resilient_parsing:  # completing the first word: it may be a command
            return super().parse_args(ctx, args)
        if not args or (self.is_argument(args[0]) and not asks_for_help):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the commands, and what the default command takes as its first word."""
        default = self.commands[self.default]
        inner = click.Context(default, info_name=self.default, parent=ctx, resilient_parsing=True)
        first = next((p for p in default.params if isinstance(p, click.Argument)), None)
        own = first.shell_complete(inner, incomplete) if first and not incomplete.startswith("-") else []
        return [*super().shell_complete(ctx, incomplete), *own]


def pass_configs(command: Callable[..., None]) -> Callable[..., None]:
    """Pass the class that `main` was given, or our `Configs`, to a command as its first argument.

    Our class is imported only when a command needs it: the import takes seconds, and other commands start at once.
    """

    @click.pass_obj
    @wraps(command)
    def with_configs(given: type | None, *arguments: Any, **options: Any) -> None:
        if given is None:
            from convmixer.configs import Configs as given
        command(given, *arguments, **options)

    return with_configs


def check_given(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> dict[str, Any]:
    """Check and convert the overrides of `--config` and of the command line; the command line wins.

    Raises:
        UserError: an unknown key, or a value that its key does not take.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import check, read_config_file, split_assignments

    keys = keys_of(configs_class)
    given = check(split_assignments(overrides), keys, "command line")
    if config is not None:
        given = check(read_config_file(config), keys, f"--config {config}") | given
    return given | _with_whole_uuid(given)


def _with_whole_uuid(given: dict[str, Any]) -> dict[str, Any]:
    """Return `pretrained=last` and the like as the run's uuid: recorded with the new run, it keeps its meaning.

    Raises:
        UserError: there is no such run; or `last` or `best`, which change, is given for several runs.
    """
    from convmixer.trained.initial_weights import resolve_reference

    start = given.get("pretrained")
    if start is None:
        return {}
    uuid = resolve_reference(start)
    if start in ("last", "best") and given.get("seeds", 1) > 1:
        raise UserError(f"command line: with seeds, name the run that they begin with: pretrained={uuid}")
    return {"pretrained": uuid}
