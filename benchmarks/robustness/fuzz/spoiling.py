"""Spoils valid files: in their bytes, or in the tree of values that they hold."""

import copy
import os
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import yaml

CANARY = "canary"


class Touch:
    """Makes the canary when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


def spoil_bytes(content: bytes, chance: random.Random) -> bytes:
    """One to four changes of bytes anywhere."""
    spoilt = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        size = len(spoilt)
        at = chance.randrange(size) if size else 0
        length = min(chance.choice((1, 2, 4, 16, 100, 1000)), size - at)
        kind = chance.randrange(7)
        if kind == 0 and size:
            spoilt[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del spoilt[at:]
        elif kind == 2:
            del spoilt[at : at + length]
        elif kind == 3:
            spoilt[at:at] = spoilt[at : at + length]
        elif kind == 4:
            spoilt[at : at + length] = bytes([chance.choice((0, 0x7F, 0x80, 0xFF))]) * length
        elif kind == 5 and size:
            other = chance.randrange(size)
            spoilt[at : at + length], spoilt[other : other + length] = (
                spoilt[other : other + length],
                spoilt[at : at + length],
            )
        elif kind == 6:
            number = chance.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**16))
            spoilt[at : at + 4] = struct.pack("<i", number)
    return bytes(spoilt)


def nested(depth: int) -> list:
    """Lists within each other."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


ODD: tuple[Callable[[], Any], ...] = tuple(
    (lambda value=value: copy.deepcopy(value))
    for value in (
        *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.0, -1.5, 1e308, 1e-320),
        *(
            float("nan"),
            float("inf"),
            -float("inf"),
            "",
            "x",
            "last",
            "../../../etc/passwd",
            "\x1b[31mred",
            "a\nb",
            "$\\x$",
        ),
        *("\udcff", "x" * 5000, "9" * 3000, "nan", "none", "true", [], {}, [1], [[1, [2.0]]], {"a": 1}, {"": None}),
        *(nested(40), nested(200), [0] * 1000),
    )
)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a tree of dicts and lists."""
    level = [tree]
    while level:
        container = level.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], dict | list):
                level.append(container[key])


def spoil_tree(tree: Any, chance: random.Random, odd: tuple[Callable[[], Any], ...] = ODD) -> Any:
    """One to three values replaced, removed or exchanged; `tree` itself is changed."""
    for _ in range(chance.randint(1, 3)):
        found = list(places(tree))
        if not found or chance.randrange(40) == 0:
            return chance.choice(odd)()
        container, key = chance.choice(found)
        kind = chance.randrange(6)
        if kind < 4:
            container[key] = chance.choice(odd)()
        elif kind == 4:
            del container[key]
        else:
            other, name = chance.choice(found)
            container[key], other[name] = other[name], container[key]
    return tree


YAML_TAGS = (
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/new:os.system ['touch {CANARY}']",
    "&a [*a]",
    "*nothing",
    "!!binary gA==",
    "!!timestamp x",
    "!!bool x",
    "!!int ''",
    "2001-99-99",
    "1:" * 5000 + "1",
    "[" * 2000,
    "- " * 2000,
    "? [a]\n: b",
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
    "g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]",
)


def spoil_yaml(text: str, chance: random.Random) -> bytes:
    """In its bytes, its tree, or by a value that YAML alone has."""
    kind = chance.randrange(4)
    if kind == 0:
        return spoil_bytes(text.encode(), chance)
    if kind == 1:
        lines = text.splitlines()
        at = chance.randrange(len(lines))
        name = lines[at].partition(":")[0]
        lines[at] = f"{name}: {chance.choice(YAML_TAGS)}" if chance.randrange(2) else chance.choice(YAML_TAGS)
        return "\n".join(lines).encode()
    tree = spoil_tree(yaml.safe_load(text), chance)
    try:
        return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    except RecursionError:  # deeper than PyYAML can write
        return spoil_bytes(text.encode(), chance)
