"""Hands the user's `Configs` to those commands that need it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click


def pass_configs(command: Callable[..., None]) -> Callable[..., None]:
    """The command's first argument becomes the class that `main` was given, or ours.

    Ours is imported only then: it takes seconds, and commands that need none are to start at once.
    """

    @click.pass_obj
    @wraps(command)
    def with_configs(given: type | None, *arguments: Any, **options: Any) -> None:
        if given is None:
            from convmixer.configs import Configs as given
        command(given, *arguments, **options)

    return with_configs
