"""`shapes`: ten classes of drawn 32x32 colour images, for tests and for first runs without a network.

Place, size, turn and colours are random, and the colours say nothing about the class: no single pixel does, so a linear
classifier has little to go by, while a small ConvMixer sees the outline. The same bits come out on every machine: raw
64-bit draws of PCG64, whose stream numpy guarantees, and plain arithmetic.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from convmixer.data.splits import Dataset, Split, measured

Array = NDArray[np.float64]

SIZE = 32
TRAIN, TEST = 10_000, 2_000
SEED = 2201_09792


def shapes() -> Dataset:
    """10,000 training and 2,000 test images, 32x32 RGB, every class equally often."""
    train, test = _draw_split(TRAIN, SEED), _draw_split(TEST, SEED + 1)
    return measured("shapes", tuple(OUTLINES), train, test)


def _draw_split(n: int, seed: int) -> Split:
    """Image `i` is of class `i % 10`."""
    bits = np.random.PCG64(seed)
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    for label, outline in enumerate(OUTLINES.values()):
        images[label :: len(OUTLINES)] = _draw(outline, n // len(OUTLINES), bits)
    return Split(torch.from_numpy(images), torch.arange(n) % len(OUTLINES))


def _draw(outline: Callable[[Array, Array], Array], n: int, bits: np.random.PCG64) -> NDArray[np.uint8]:
    """`n` images of one class: uint8 `[n, 32, 32, 3]`."""
    radius = _uniform(bits, 8.0, 13.0, n, 1, 1)
    u, v = _turned_grid(radius, bits, n)
    # Over one pixel the depth below the outline turns into cover, so edges are smooth.
    cover = np.clip(outline(u, v) * radius + 0.5, 0, 1)[..., None]

    background = _uniform(bits, 0, 256, n, 1, 1, 3)
    # Every channel differs by 80 to 176: always visible, brighter as often as darker.
    foreground = (background + _uniform(bits, 80, 176, n, 1, 1, 3)) % 256
    shade = _shade(bits, n)
    noise = _uniform(bits, -24, 24, n, SIZE, SIZE, 3)
    picture = background + cover * (foreground - background) + shade + noise
    return np.clip(picture, 0, 255).astype(np.uint8)


def _turned_grid(radius: Array, bits: np.random.PCG64, n: int) -> tuple[Array, Array]:
    """Coordinates of each pixel as the shape sees them, its radius being 1: two of `[n, 32, 32]`."""
    angle = _uniform(bits, 0, 2 * np.pi, n, 1, 1)
    reach = SIZE / 2 - 0.8 * radius
    down = np.arange(SIZE)[:, None] - (SIZE - 1) / 2 - _uniform(bits, -1, 1, n, 1, 1) * reach
    right = np.arange(SIZE)[None, :] - (SIZE - 1) / 2 - _uniform(bits, -1, 1, n, 1, 1) * reach
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    return cos * right + sin * down, cos * down - sin * right


def _shade(bits: np.random.PCG64, n: int) -> Array:
    """Light that changes evenly across the picture: `[n, 32, 32, 1]`, between -48 and 48."""
    ramp = np.linspace(-1, 1, SIZE)
    down = _uniform(bits, -24, 24, n, 1, 1) * ramp[:, None]
    right = _uniform(bits, -24, 24, n, 1, 1) * ramp[None, :]
    return (down + right)[..., None]


def _uniform(bits: np.random.PCG64, low: float, high: float, *shape: int) -> Array:
    raw = bits.random_raw(int(np.prod(shape))).reshape(shape)
    return low + (high - low) * ((raw >> np.uint64(11)) * 2.0**-53)


# Each outline gives, at (u, v), how deep the point lies inside the shape: negative outside, 0 on the edge. The shapes
# fill about the same disc of radius 1. Union is a maximum, intersection a minimum, to cut out is to intersect with -x.


def _disc(u: Array, v: Array) -> Array:
    return 0.85 - np.sqrt(u * u + v * v)


def _ring(u: Array, v: Array) -> Array:
    return 0.2 - np.abs(np.sqrt(u * u + v * v) - 0.75)


def _square(u: Array, v: Array) -> Array:
    return 0.75 - np.maximum(np.abs(u), np.abs(v))


def _frame(u: Array, v: Array) -> Array:
    return 0.18 - np.abs(np.maximum(np.abs(u), np.abs(v)) - 0.65)


def _triangle(u: Array, v: Array) -> Array:
    return np.minimum(v + 0.5, 0.5 - np.sqrt(0.75) * np.abs(u) - 0.5 * v)


def _cross(u: Array, v: Array) -> Array:
    thin, long = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    return np.minimum(0.25 - thin, 0.95 - long)


def _star(u: Array, v: Array) -> Array:
    """Five points: where at least four of the five sides' half-planes overlap."""
    angles = np.arange(5) * (2 * np.pi / 5)
    depths = [0.36 - np.cos(angle) * u - np.sin(angle) * v for angle in angles]
    return np.partition(np.stack(depths), 1, axis=0)[1]


def _stripes(u: Array, v: Array) -> Array:
    """Three parallel bars."""
    bar = 0.16 - np.abs(np.abs(np.abs(v) - 0.325) - 0.325)
    return np.minimum(bar, 0.85 - np.abs(u))


def _checkers(u: Array, v: Array) -> Array:
    """Two squares that touch at a corner."""
    one, other = np.minimum(u, v), np.minimum(-u, -v)
    return np.minimum(np.maximum(one, other), 0.8 - np.maximum(np.abs(u), np.abs(v)))


def _crescent(u: Array, v: Array) -> Array:
    bite = 0.7 - np.sqrt((u - 0.45) ** 2 + v * v)
    return np.minimum(0.9 - np.sqrt(u * u + v * v), -bite)


OUTLINES = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "stripes": _stripes,
    "checkers": _checkers,
    "crescent": _crescent,
}
