"""Reads `key=value` text and YAML files as checked, typed overrides.

Anything wrong raises a `UserError` of one line: what, where, what was expected, the nearest right name.
"""

import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from convmixer.configs.keys import Key
from convmixer.errors import UserError
from convmixer.files.untrusted import read_yaml

# Names that other projects use for our keys.
OTHER_NAMES = {
    "batch": "train_batch_size",
    "batch_size": "train_batch_size",
    "bs": "train_batch_size",
    "depth": "n_layers",
    "layers": "n_layers",
    "dim": "d_model",
    "hidden_dim": "d_model",
    "width": "d_model",
    "gpu": "device",
    "iterations": "steps",
    "drop_path": "stochastic_depth",
}


def check(values: Mapping[str, Any], keys: Mapping[str, Key], where: str) -> dict[str, Any]:
    """Check text or YAML values and return them with the types of their keys.

    Raises:
        UserError: an unknown key, or a value that its key does not take.
    """
    checked = {}
    for name, value in values.items():
        if name not in keys:
            raise UserError(f"{where}: {_unknown(name, keys)}")
        try:
            checked[name] = keys[name].parse(value)
        except (ValueError, OverflowError):
            raise UserError(f"{where}: {_wrong_value(keys[name], value)}") from None
    return checked


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong_value(key: Key, value: Any) -> str:
    text = f"{key.name}={_shown(value)} is wrong, expected {key.expected()}"
    if _is_search(key, value):
        return f"{text}; to try all these values: sweep {key.name}={_shown(value)}"
    near = difflib.get_close_matches(str(value)[:100], key.choices, n=1)
    return f"{text}; did you mean {near[0]}?" if near else text


def _is_search(key: Key, value: Any) -> bool:
    """Return True if the value is several right values, as a sweep takes them."""
    values = value.split(",") if isinstance(value, str) and not key.is_list else []
    try:
        return len(values) > 1 and all(key.parse(one) is not None for one in values)
    except (ValueError, OverflowError):
        return False


def _unknown(name: Any, keys: Iterable[str]) -> str:
    name = str(name)
    head = name.split(".")[0]
    if "." in name and head in keys:
        return f"{_shown(name)}: {head} is a plain value and has no keys below it"
    nested = [key for key in keys if key.startswith(head + ".")]
    if nested and name == head:
        return f"{head} is a group, give one of its keys: {', '.join(nested)}"
    near = nearest_key(name, nested or keys, keys)
    hint = f"did you mean {near}?" if near else "`configs` lists all keys"
    return f"unknown key {_shown(name)}, {hint}"


def nearest_key(name: str, candidates: Iterable[str], keys: Iterable[str]) -> str | None:
    """Return the key that `name` was probably meant to be, None if none is near.

    Args:
        candidates: the keys that are looked at first, such as those of one group.
        keys: all keys.
    """
    if name in keys:
        return name
    other = OTHER_NAMES.get(name)
    near = difflib.get_close_matches(name[:100], list(candidates), n=1, cutoff=0.6)
    found = [other] if other in keys else _same_initials(name, candidates) or near or _near_tail(name, keys)
    return found[0] if found else None


def _same_initials(name: str, keys: Iterable[str]) -> list[str]:
    """Return the keys whose words have these initials: `lr` is learning_rate, `optimizer.wd` is weight_decay."""
    short = name.rpartition(".")[2]
    tails = ((key, key.rpartition(".")[2].split("_")) for key in keys)
    return [key for key, words in tails if len(words) > 1 and short == "".join(w[:1] for w in words)]


def _near_tail(name: str, keys: Iterable[str]) -> list[str]:
    """Return the nested key that is nearest to a name given without its group."""
    tails = {key.rpartition(".")[2]: key for key in keys}
    return [tails[tail] for tail in difflib.get_close_matches(name[:100], tails, n=1)]


def split_assignments(arguments: Iterable[str]) -> dict[str, str]:
    """Split `["epochs=3", "seed=1"]` into `{"epochs": "3", "seed": "1"}`.

    Raises:
        UserError: an argument without `=`, without a key, or a key given twice.
    """
    values: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise UserError(f"command line: {_shown(argument)} is no override, expected key=value, as epochs=3")
        if name in values:
            raise UserError(f"command line: {_shown(name)} is given twice")
        values[name] = text
    return values


MERGE = "tag:yaml.org,2002:merge"  # `<<: *others`
UNTYPED = (MERGE, "tag:yaml.org,2002:null")


class _Loader(yaml.SafeLoader):
    """A safe YAML loader that leaves values as they are typed: their keys give them a type, as on the command line.

    YAML itself takes 010 for 8, 1:30 for 90, `on` for true and 2024-01-01 for a date. A key given twice is refused.
    """

    yaml_implicit_resolvers: typing.ClassVar = {
        first: [(tag, form) for tag, form in resolvers if tag in UNTYPED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        own = [key for key, _ in node.value if key.tag != MERGE]
        names = [self.construct_object(key, deep=True) for key in own]
        twice = [str(name) for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise yaml.YAMLError(f"{twice[0]} is given twice")
        return super().construct_mapping(node, deep)


def read_config_file(path: Path, option: str = "--config") -> dict[str, Any]:
    """Read overrides from a YAML file; groups may be nested or dotted.

    Raises:
        UserError: the file can't be read, is not YAML, or is not a mapping.
    """
    where = f"{option} {path}"
    try:
        content = read_yaml(path, _Loader)
    except UserError as error:
        raise UserError(f"{option} {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected a mapping of keys to values")
    return _flatten(content, where)


def _flatten(content: dict, where: str, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        inner = {f"{prefix}{name}": value}
        if isinstance(value, dict):
            if depth == 8:
                raise UserError(f"{where}: nested too deep at {_shown(prefix)}")
            inner = _flatten(value, where, f"{prefix}{name}.", depth + 1)
        twice = next(iter(inner.keys() & flat.keys()), None)
        if twice:
            raise UserError(f"{where}: {twice} is given twice")
        flat |= inner
    return flat
