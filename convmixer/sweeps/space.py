"""The space of a sweep: what all trials share, and the keys that are searched. `space_text.py` reads one from text."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from convmixer.console import as_argument
from convmixer.errors import UserError

LARGEST_GRID = 100_000  # points


@dataclass(frozen=True)
class Condition:
    """The key counts only where another key's value is one of these."""

    name: str
    values: tuple[Any, ...]

    def holds(self, point: Mapping[str, Any]) -> bool:
        return self.name in point and point[self.name] in self.values


@dataclass(frozen=True)
class Parameter:
    """A key that is searched."""

    name: str
    distribution: BaseDistribution
    condition: Condition | None = None

    def is_active(self, point: Mapping[str, Any]) -> bool:
        """True if this key counts at a point that holds the values of those before it."""
        return self.condition is None or self.condition.holds(point)

    def suggest(self, trial: Trial) -> Any:
        """The trial's value: drawn, or the one that it already has."""
        match self.distribution:
            case CategoricalDistribution() as d:
                return trial.suggest_categorical(self.name, d.choices)
            case IntDistribution() as d:
                return trial.suggest_int(self.name, d.low, d.high, step=d.step, log=d.log)
            case FloatDistribution() as d:
                return trial.suggest_float(self.name, d.low, d.high, log=d.log)
        raise TypeError(self.distribution)

    def checked_values(self) -> tuple[Any, ...]:
        """Every value of a choice, both ends of a range."""
        d = self.distribution
        return d.choices if isinstance(d, CategoricalDistribution) else (d.low, d.high)

    def all_values(self) -> Sequence[Any]:
        """Every value, for a grid.

        Raises:
            UserError: there is no end of them.
        """
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices
        if isinstance(d, FloatDistribution):
            raise UserError(
                f"--sampler grid: {self.name} has no end of values; name some, as {self.name}={d.low:g},{d.high:g}"
            )
        return range(d.low, d.high + 1, d.step)


@dataclass(frozen=True)
class Space:
    """The keys that all trials share, and those that are searched: `parameters`, each after the one it depends on."""

    fixed: dict[str, Any]
    parameters: tuple[Parameter, ...]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The searched keys' values for this trial; those whose condition does not hold are left out."""
        point: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.is_active(point):
                point[parameter.name] = parameter.suggest(trial)
        return point

    def overrides(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """All keys given at a point."""
        return self.fixed | dict(point)

    def arguments(self, point: Mapping[str, Any]) -> list[str]:
        """The same as words of a command line."""
        return [as_argument(name, value) for name, value in self.overrides(point).items()]

    def grid(self) -> list[dict[str, Any]]:
        """Every point, the last key changing fastest.

        Raises:
            UserError: a key without an end of values, or more than `LARGEST_GRID` points.
        """
        points = list(itertools.islice(self._grid(self.parameters, {}), LARGEST_GRID + 1))
        if len(points) > LARGEST_GRID:
            raise UserError(f"--sampler grid: more than {LARGEST_GRID} points; give fewer values, or another sampler")
        return points

    def size(self) -> int | None:
        """The number of points; None where there is no end of them, or more than `LARGEST_GRID`."""
        try:
            return len(self.grid())
        except UserError:
            return None

    def is_of_choices(self) -> bool:
        """True if every searched key has a few values that were named."""
        return all(isinstance(p.distribution, CategoricalDistribution) for p in self.parameters)

    def _grid(self, rest: tuple[Parameter, ...], point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not rest:
            yield point
        elif rest[0].is_active(point):
            for value in rest[0].all_values():
                yield from self._grid(rest[1:], point | {rest[0].name: value})
        else:
            yield from self._grid(rest[1:], point)

    def probes(self) -> list[dict[str, Any]]:
        """Few points that together hold every value of each choice and both ends of each range."""
        probes = [self._probe({})]
        for parameter in self.parameters:
            probes += [
                self._probe(self._needed_for(parameter) | {parameter.name: v}) for v in parameter.checked_values()
            ]
        return [p for i, p in enumerate(probes) if p not in probes[:i]]

    def _needed_for(self, parameter: Parameter) -> dict[str, Any]:
        condition = parameter.condition
        if condition is None:
            return {}
        needed = next(p for p in self.parameters if p.name == condition.name)
        return self._needed_for(needed) | {condition.name: condition.values[0]}

    def _probe(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        point: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.is_active(point):
                point[parameter.name] = chosen.get(parameter.name, parameter.checked_values()[0])
        return point

    def describe(self) -> dict[str, Any]:
        """As plain values, to be kept with the study and compared."""
        searched = {}
        for p in self.parameters:
            condition = [p.condition.name, list(p.condition.values)] if p.condition else None
            searched[p.name] = {**json.loads(distribution_to_json(p.distribution)), "if": condition}
        return {"fixed": self.fixed, "searched": searched}
