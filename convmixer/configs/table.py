"""Writes docs/configs.md: `python -m convmixer.configs.table > docs/configs.md`."""

import inspect
import typing
from itertools import groupby

from labml.configs import BaseConfigs

from convmixer.configs.keys import Key, keys_of
from convmixer.configs.recipes import RECIPES
from convmixer.configs.reopening import CHANGEABLE_ON_RESUME
from convmixer.configs.schema import Configs
from convmixer.console import as_argument

HEAD = """# Every key

Give a key as `key=value` on the command line, or in a YAML file with `--config`. The later one wins: the default, the
recipe, `--config`, the command line. `python experiment.py configs` prints the same table; your own script also prints
its own keys. A default in **bold** is changed by at least one recipe. `resume` may change only {changeable}.

(Made by `python -m convmixer.configs.table > docs/configs.md`.)
"""


def config_table(configs_class: type[Configs] = Configs) -> str:
    """Return all keys as Markdown: one table for each group, with default, values and meaning."""
    changeable = ", ".join(f"`{name}`" for name in CHANGEABLE_ON_RESUME)
    parts = [HEAD.format(changeable=changeable)]
    in_recipes = {name for recipe in RECIPES.values() for name in recipe()}
    by_group = sorted(keys_of(configs_class).items(), key=lambda item: item[0].rpartition(".")[0])
    for group, keys in groupby(by_group, key=lambda item: item[0].rpartition(".")[0]):
        parts.append(f"## {_title(configs_class, group)}\n\n| key | default | takes | meaning |\n|---|---|---|---|")
        parts += [_row(key, name in in_recipes) for name, key in keys]
        parts.append("")
    return "\n".join(parts)


def _title(configs_class: type[Configs], group: str) -> str:
    if not group:
        return "The experiment"
    kind = typing.get_type_hints(configs_class)[group]
    assert issubclass(kind, BaseConfigs)
    return f"`{group}`: {(inspect.getdoc(kind) or '').splitlines()[0].rstrip('.')}"


def _row(key: Key, in_recipes: bool) -> str:
    default = as_argument(key.name, key.default).partition("=")[2]
    default = f"**{default}**" if in_recipes else default
    cells = (f"`{key.name}`", default, key.expected(), key.knob.help)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    print(config_table(), end="")
