"""labml's dynamic hyperparameters in a user's `Configs`: numbers that code asks for by a call, and that `set` changes.

    class MyConfigs(Configs):
        share: FloatDynamicHyperParam = FloatDynamicHyperParam(0.5, range_=(0, 1))

`c.share()` is the value now. The command line gives the first one, as for any number: `share=0.2`.
"""

import copy
from dataclasses import dataclass
from typing import Any

from labml.internal.configs.dynamic_hyperparam import DynamicHyperParam, IntDynamicHyperParam


@dataclass(frozen=True)
class Prototype:
    """The model from which the dynamic hyperparameters of a key are made.

    Attributes:
        kind: labml's class, or a subclass.
        default: the object that the `Configs` class names; None if an option makes it.
    """

    kind: type[DynamicHyperParam]
    default: DynamicHyperParam | None

    @property
    def number(self) -> type:
        """The type of its values."""
        return int if issubclass(self.kind, IntDynamicHyperParam) else float

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """The smallest and the largest value. labml's default range counts only if the first value is in it."""
        if self.default is None:
            return None, None
        low, high = self.default._range_
        return (low, high) if low <= self.default._default <= high else (None, None)

    def with_value(self, name: str, value: float) -> DynamicHyperParam:
        """Make one: each run has its own, as it is changed while the run trains."""
        made = copy.copy(self.default) if self.default is not None else self.kind(value)
        made._default = made._value = value
        made.register(name)
        return made


def prototype_of(kind: Any, default: Any) -> Prototype | None:
    """Return what a key's dynamic hyperparameters are made from; None if it is another key."""
    if isinstance(default, DynamicHyperParam):
        return Prototype(type(default), default)
    return Prototype(kind, None) if isinstance(kind, type) and issubclass(kind, DynamicHyperParam) else None
