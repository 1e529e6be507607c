"""Arguments and checks that several commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
CONFIG = click.option("--config", type=click.Path(path_type=Path), help="YAML file of keys and values.")
QUIET = click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")


class DefaultGroup(click.Group):
    """A group whose first word may be left out: then it is `default`.

    Args:
        default: the name of a command.
        is_argument: says of a first word that it belongs to that command, and is no command's name.
    """

    def __init__(self, *args: Any, default: str, is_argument: Callable[[str], bool], **options: Any) -> None:
        super().__init__(*args, **options)
        self.default = default
        self.is_argument = is_argument

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = args and args[0] in ("--help", "-h", "--version")
        if not args or (self.is_argument(args[0]) and not asks_for_help):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def pass_configs(command: Callable[..., None]) -> Callable[..., None]:
    """Make the class that `main` was given, or ours, the first argument of a command.

    Ours is imported only then: it takes seconds, and commands that need none are to start at once.
    """

    @click.pass_obj
    @wraps(command)
    def with_configs(given: type | None, *arguments: Any, **options: Any) -> None:
        if given is None:
            from convmixer.configs import Configs as given
        command(given, *arguments, **options)

    return with_configs


def check_given(configs_class: type, overrides: tuple[str, ...], config: Path | None) -> dict[str, Any]:
    """Check and convert the overrides of `--config` and of the command line; the latter win.

    Raises:
        UserError: an unknown key, or a value that its key does not take.
    """
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import check, read_config_file, split_assignments

    keys = keys_of(configs_class)
    typed = check(split_assignments(overrides), keys, "command line")
    if config is None:
        return typed
    return check(read_config_file(config), keys, f"--config {config}") | typed
