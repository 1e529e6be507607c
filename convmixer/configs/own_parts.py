"""Tells the keys and options of a user's script from ours: they say what makes a run of that script special."""

from collections.abc import Mapping
from typing import Any

from convmixer.configs.keys import Key

_ours: dict[str, frozenset[str]] = {}  # our keys and what each can be


def note_ours(keys: Mapping[str, Key]) -> None:
    """Note what is ours; called once, before any script has added something."""
    _ours.update({name: frozenset(key.choices) for name, key in keys.items()})


def own_parts(values: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return the values that only a user's script can give: of its own keys, and its own options of our keys."""
    return {name: value for name, value in values.items() if name not in _ours or _is_own_option(keys[name], value)}


def _is_own_option(key: Key, value: Any) -> bool:
    added = set(key.choices) - _ours[key.name]
    return any(isinstance(word, str) and word in added for word in (value if isinstance(value, list) else [value]))
