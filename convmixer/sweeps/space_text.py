"""Reads the space of a sweep: the keys of a training, some of them with several values.

    d_model=64,128,256                               one of these
    n_layers=range(4,12,2)                           4, 6, 8, 10, as Python counts
    label_smoothing=uniform(0,0.2)                   any number from 0 to 0.2
    optimizer.learning_rate=log(1e-4,1e-1)           the same, evenly on a logarithmic scale
    epochs=int(2,9)  d_model=intlog(16,512)          the same two for integers, both ends included
    compile=bool                                     true or false
    'optimizer.momentum=uniform(0,0.99) if optimizer.optimizer=SGD'    only where that value was drawn

A list is one value, as elsewhere (`augment.ops=[translate,flip],[flip]` is two of them); free text is never split.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from convmixer.configs.keys import Key
from convmixer.configs.overrides import check, read_config_file
from convmixer.console import as_argument
from convmixer.errors import UserError
from convmixer.sweeps.space import Condition, Parameter, Space

MOST_VALUES = 10_000  # of one range(...)


def read_space(values: Mapping[str, Any], keys: Mapping[str, Key], where: str) -> Space:
    """A space from texts as on the command line, or YAML values: each choice and both ends of ranges are checked.

    Raises:
        UserError: an unknown key, a value that its key does not take, a range or condition that can't be.
    """
    fixed: dict[str, Any] = {}
    found: dict[str, Parameter] = {}
    for name, value in values.items():
        reader = _Reader(name, value, keys, where)
        parameter = reader.parameter()
        if parameter is None:
            fixed[name] = reader.one(value)
        else:
            found[name] = parameter
    return Space(fixed, _parents_first(found, where))


class _Reader:
    """Reads what was given for one key."""

    def __init__(self, name: str, value: Any, keys: Mapping[str, Key], where: str) -> None:
        self.name, self.keys, self.where = name, keys, where
        if name not in keys:
            check({name: value}, keys, where)
        self.key = keys[name]
        text, _, self.condition_text = value.partition(" if ") if self._may_be_searched(value) else (value, "", "")
        self.value = text

    def _may_be_searched(self, value: Any) -> bool:
        return isinstance(value, str) and not self.key.is_text

    def parameter(self) -> Parameter | None:
        """None where the key has a single value."""
        distribution = self._distribution()
        if self.condition_text:
            distribution = distribution or CategoricalDistribution([self._stored(self.value)])
            return Parameter(self.name, distribution, self._condition())
        return Parameter(self.name, distribution) if distribution else None

    def _distribution(self) -> BaseDistribution | None:
        if isinstance(self.value, list):
            several = not self.key.is_list or (self.value and isinstance(self.value[0], list))
            return self._choice(self.value) if several else None
        if not self._may_be_searched(self.value):
            return None
        text = self.value.strip()
        call = re.fullmatch(r"(\w+)\s*\((.*)\)", text)
        if call:
            return self._range(*call.groups())
        if text == "bool" and self.key.type is bool:
            return CategoricalDistribution([True, False])
        items = _split(text)
        several = len(items) > 1 and (not self.key.is_list or "[" in text)
        return self._choice(items) if several else None

    def one(self, value: Any) -> Any:
        """A single value, checked."""
        return check({self.name: value}, self.keys, self.where)[self.name]

    def _stored(self, value: Any) -> Any:
        """A single value as Optuna can keep it: a list as its text."""
        checked = self.one(value)
        return as_argument("", checked)[1:] if isinstance(checked, list) else checked

    def _choice(self, items: list[Any]) -> BaseDistribution:
        values = [self._stored(item) for item in items]
        twice = [v for i, v in enumerate(values) if v in values[:i]]
        if twice:
            raise self._wrong(f"{twice[0]} is there twice")
        if not values:
            raise self._wrong("there is no value to choose from")
        return CategoricalDistribution(values)

    def _range(self, function: str, inside: str) -> BaseDistribution:
        if function not in _RANGES:
            raise self._wrong(f"expected a,b,c or bool or one of {', '.join(_RANGES)}, each as range(1,9,2)")
        integers, make = _RANGES[function]
        if self.key.is_integer and not integers:
            raise self._wrong(f"the key takes integers: int{'log' if function == 'log' else ''}(...)")
        try:
            numbers = [_number(item, integers) for item in _split(inside)]
            distribution = make(*numbers)
        except (ValueError, TypeError, OverflowError):
            raise self._wrong(f"{function} is given as {_EXAMPLES[function]}") from None
        self.one(distribution.low)
        self.one(distribution.high)
        return distribution

    def _condition(self) -> Condition:
        name, equals, text = self.condition_text.strip().partition("=")
        if not equals or not name or not text:
            raise self._wrong("a condition is given as: KEY=VALUES if OTHER=VALUE")
        other = _Reader(name, text, self.keys, self.where)
        return Condition(name, tuple(other._stored(item) for item in _split(text)))

    def _wrong(self, reason: str) -> UserError:
        text = str(self.value)
        shown = text if len(text) <= 60 else text[:57] + "..."
        return UserError(
            f"{self.where}: {self.name}={shown if shown.isprintable() else ascii(shown)} is wrong, {reason}"
        )


def _split(text: str) -> list[str]:
    """At the commas that are outside of brackets."""
    items, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items]


def _number(text: str, integers: bool) -> float | int:
    number = float(text)
    if not math.isfinite(number) or (integers and number != int(number)):
        raise ValueError
    return int(number) if integers else number


def _range(low: int, high: int, step: int = 1) -> IntDistribution:
    values = range(low, high, step)
    if step < 1 or not 2 <= len(values) <= MOST_VALUES:
        raise ValueError
    return IntDistribution(values[0], values[-1], step=step)


def _uniform(low: float, high: float) -> FloatDistribution:
    return FloatDistribution(*_ordered(low, high))


def _log(low: float, high: float) -> FloatDistribution:
    return FloatDistribution(*_ordered(low, high), log=True)


def _int(low: int, high: int) -> IntDistribution:
    return IntDistribution(*_ordered(low, high))


def _intlog(low: int, high: int) -> IntDistribution:
    return IntDistribution(*_ordered(low, high), log=True)


def _ordered(low: float, high: float) -> tuple[Any, Any]:
    if low >= high:
        raise ValueError
    return low, high


# Name: whether its ends are integers, and what makes the distribution.
_RANGES: dict[str, tuple[bool, Callable[..., BaseDistribution]]] = {
    "range": (True, _range),
    "uniform": (False, _uniform),
    "log": (False, _log),
    "int": (True, _int),
    "intlog": (True, _intlog),
}
_EXAMPLES = {
    "range": "range(1,9,2), as Python counts: two values at least",
    "uniform": "uniform(0,0.5), the smaller end first",
    "log": "log(1e-4,1e-1), the smaller end first, above 0",
    "int": "int(2,9), the smaller end first",
    "intlog": "intlog(16,512), the smaller end first, above 0",
}


def _parents_first(found: Mapping[str, Parameter], where: str) -> tuple[Parameter, ...]:
    ordered: dict[str, Parameter] = {}

    def visit(parameter: Parameter, below: tuple[str, ...]) -> None:
        if parameter.name in ordered:
            return
        if parameter.name in below:
            raise UserError(f"{where}: {' if '.join((*below, parameter.name))}: these conditions go in a circle")
        if parameter.condition:
            _check_condition(parameter, found, where)
            visit(found[parameter.condition.name], (*below, parameter.name))
        ordered[parameter.name] = parameter

    for parameter in found.values():
        visit(parameter, ())
    return tuple(ordered.values())


def _check_condition(parameter: Parameter, found: Mapping[str, Parameter], where: str) -> None:
    condition = parameter.condition
    other = found.get(condition.name)
    if other is None or not isinstance(other.distribution, CategoricalDistribution):
        raise UserError(
            f"{where}: {parameter.name} ... if {condition.name}: {condition.name} is no choice of this sweep"
        )
    for value in condition.values:
        if value not in other.distribution.choices:
            among = ", ".join(map(str, other.distribution.choices))
            raise UserError(f"{where}: {parameter.name} ... if {condition.name}={value}: it is chosen among {among}")


def read_space_file(path: Path) -> dict[str, Any]:
    """The values that a `--space` file gives for each key.

    Raises:
        UserError: the file can't be read, or is not a mapping.
    """
    return read_config_file(path, "--space")
