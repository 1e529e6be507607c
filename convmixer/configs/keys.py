"""The keys of a `Configs` class and the values they take. `schema.py` and `groups.py` declare them."""

import math
import types
import typing
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from labml.configs import BaseConfigs
from labml.internal.configs.dynamic_hyperparam import DynamicHyperParam

from convmixer.configs.dynamic import Prototype, prototype_of
from convmixer.console import is_plain

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
LONGEST_TEXT = 2000  # characters of one value; also keeps int() below its own limit


@dataclass(frozen=True)
class Knob:
    """Help, range and choices of a key, beside its type: `name: Annotated[int, Knob("help", low=1)] = 8`.

    Attributes:
        help: one line for `configs`.
        low: the smallest number.
        high: the largest number.
        above: numbers must be larger than this.
        choices: the words that it takes. It may be a registry that scripts add to later.
        operation: the augmentation that it belongs to; the key may be given only if `augment.ops` names that.
    """

    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: Collection[str] = ()
    operation: str | None = None

    def __repr__(self) -> str:
        """Return the help: labml records a key's type, with this in it, as text."""
        return repr(self.help)


@dataclass(frozen=True)
class Key:
    """One key of a `Configs` class, as it is given on the command line."""

    name: str
    type: Any
    default: Any
    options: tuple[str, ...]
    knob: Knob
    prototype: Prototype | None = None  # of one of labml's dynamic hyperparameters

    def part(self, value: Any) -> Any:
        """Return what the `Configs` object holds for a value: the value, or a dynamic hyperparameter that has it."""
        is_number = self.prototype is not None and not isinstance(value, str)
        return self.prototype.with_value(self.name, value) if is_number else value

    @property
    def is_plain(self) -> bool:
        return _is_plain(self.type)

    @property
    def is_integer(self) -> bool:
        return _without_none(self.type) is int

    @property
    def is_list(self) -> bool:
        return _element_type(self.type) is not None

    @property
    def is_text(self) -> bool:
        """True if it takes free text, not the name of a choice."""
        return _without_none(self.type) is str and not self.choices

    @property
    def choices(self) -> tuple[str, ...]:
        return (*self.options, *self.knob.choices)

    def expected(self) -> str:
        """Describe the values that the key takes, in words."""
        named = f"one of {', '.join(self.choices)}" if self.choices else ""
        if _element_type(self.type) is not None:
            return f"a list of {named[len('one of ') :] or 'numbers'}, as [a,b]"
        if not self.is_plain or (named and _without_none(self.type) is str):
            return named
        words = [_WORDS[_without_none(self.type)] + self._range()]
        words += ["none"] if _allows_none(self.type) else []
        return " or ".join(filter(None, [*words, named]))

    def _range(self) -> str:
        low, high, above = self.knob.low, self.knob.high, self.knob.above
        start = f" above {above}" if above is not None else f" from {low}" if low is not None else ""
        return f"{start} up to {high}" if high is not None else start

    def parse(self, value: Any) -> Any:
        """Convert text, or a value that already has a type as in YAML, to the key's type.

        Raises:
            ValueError: the value is not what `expected()` says.
        """
        if _allows_none(self.type) and _is_none(value):
            return None
        if isinstance(value, str) and value in self.choices and _element_type(self.type) is None:
            return value
        if not self.is_plain or (self.knob.choices and _without_none(self.type) is str):
            raise ValueError
        value = _convert(value, self.type)
        for number in value if isinstance(value, list) else [value]:
            self._check(number)
        return value

    def _check(self, value: Any) -> None:
        knob = self.knob
        if knob.choices and value not in knob.choices:
            raise ValueError
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        too_low = knob.low is not None and value < knob.low
        too_high = knob.high is not None and value > knob.high
        if too_low or too_high or (knob.above is not None and value <= knob.above):
            raise ValueError


_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in ("none", "null"))


def _without_none(kind: Any) -> Any:
    rest = [part for part in typing.get_args(kind) if part is not types.NoneType]
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    return rest[0] if is_union and len(rest) == 1 else kind


def _allows_none(kind: Any) -> bool:
    return _without_none(kind) is not kind


def _element_type(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is list else None


def _is_plain(kind: Any) -> bool:
    return _without_none(kind) in _WORDS or _element_type(kind) in _WORDS


def _convert(value: Any, kind: Any) -> Any:
    kind = _without_none(kind)
    text = value if kind is str or not isinstance(value, str) else value.strip()
    if _element_type(kind) is not None:
        return [_convert(item, _element_type(kind)) for item in _items(value)]
    if isinstance(text, str) and len(text) > LONGEST_TEXT:
        raise ValueError
    return _CONVERTERS[kind](text)


def _items(value: Any) -> list:
    if isinstance(value, str):
        inner = value.strip().removeprefix("[").removesuffix("]")
        return [item.strip() for item in inner.split(",")] if inner.strip() else []
    if not isinstance(value, list | tuple):
        raise ValueError
    return list(value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word not in YES + NO:
        raise ValueError
    return word in YES


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _to_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _to_float(value)  # so that 1e3 is an integer too
    if number != int(number):
        raise ValueError
    return int(value) if isinstance(value, str) and value.lstrip("+-").isdecimal() else int(number)


def _to_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not is_plain(value):
        raise ValueError
    return value


_CONVERTERS = {int: _to_int, float: _to_float, bool: _to_bool, str: _to_text}


def keys_of(configs_class: type[BaseConfigs], prefix: str = "") -> dict[str, Key]:
    """Return every key of a `Configs` class by its name; nested ones are called `optimizer.learning_rate`."""
    described = configs_class()._to_json()
    defaults = _defaults(configs_class)
    found: dict[str, Key] = {}
    for name, annotation in _annotations(configs_class).items():
        kind, knob = _split_annotation(annotation)
        if isinstance(kind, type) and issubclass(kind, BaseConfigs):
            found |= keys_of(kind, f"{prefix}{name}.")
        elif described[name]["options"] or _is_plain(kind) or prototype_of(kind, defaults.get(name)):
            options = tuple(described[name]["options"])
            found[prefix + name] = _key(prefix + name, kind, defaults.get(name), options, knob)
    return found


def _key(name: str, kind: Any, default: Any, options: tuple[str, ...], knob: Knob) -> Key:
    prototype = prototype_of(kind, default)
    if prototype is None:
        return Key(name, kind, default, options, knob)
    low, high = prototype.limits
    knob = Knob(knob.help or "dynamic hyperparameter: `set` changes it", low=low, high=high)
    first = default._default if isinstance(default, DynamicHyperParam) else default
    return Key(name, prototype.number, first, options, knob, prototype)


def _annotations(configs_class: type[BaseConfigs]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for base in reversed(configs_class.__mro__):
        if issubclass(base, BaseConfigs) and base is not BaseConfigs:
            merged |= {k: v for k, v in base.__annotations__.items() if not k.startswith("_")}
    return merged


def _defaults(configs_class: type[BaseConfigs]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for base in reversed(configs_class.__mro__):
        items = vars(base).items() if issubclass(base, BaseConfigs) else ()
        merged |= {k: v.value for k, v in items if getattr(v, "has_value", False)}
    return merged


def _split_annotation(annotation: Any) -> tuple[Any, Knob]:
    if typing.get_origin(annotation) is not typing.Annotated:
        return annotation, Knob("")
    kind, *notes = typing.get_args(annotation)
    return kind, next((note for note in notes if isinstance(note, Knob)), Knob(""))
