"""BatchNorm of GELU in Triton, in training: from moments in parts, and its gradient from two sums.

It is `scale * GELU(a) + shift`; its gradient is linear too (`triton_gelu.before_norm`), once two sums over the batch
are known: of the gradient of its result, and of that times GELU(a) less its mean.

Never run on a GPU yet: none was available. It is tested as triton_depthwise is.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from convmixer.model.kernels.triton_gelu import gelu

NUMBERS, STEPS = 1024, 8  # of a step of `_sum_slopes`, and steps of a program; numbers of a program of `_normalise`
PARTS, CHANNELS = 128, 16  # that a program adds up at a time


@triton.jit
def _sum_slopes(
    gradient, a, mean, sums, places, channels, PLANE: tl.constexpr, NUMBERS: tl.constexpr, STEPS: tl.constexpr
):  # fmt: skip
    """Sum, over some places of one channel, of all images, the gradient, and it times GELU(a) - mean."""
    c, first = tl.program_id(0) % channels, tl.program_id(0) // channels * (NUMBERS * STEPS)
    middle = tl.load(mean + c)
    plain, moved = tl.zeros([NUMBERS], tl.float32), tl.zeros([NUMBERS], tl.float32)
    for step in range(STEPS):
        place = first + step * NUMBERS + tl.arange(0, NUMBERS)
        at = ((place // PLANE).to(tl.int64) * channels + c) * PLANE + place % PLANE
        slope = tl.load(gradient + at, mask=place < places, other=0.0).to(tl.float32)
        far = gelu(tl.load(a + at, mask=place < places, other=0.0).to(tl.float32)) - middle
        plain += slope
        moved += slope * far
    tl.store(sums + tl.program_id(0) * 2, tl.sum(plain, 0))
    tl.store(sums + tl.program_id(0) * 2 + 1, tl.sum(moved, 0))


@triton.jit
def _normalise(
    a, norm, out, planes, channels, PLANE: tl.constexpr, PLANES: tl.constexpr, NUMBERS: tl.constexpr
):  # fmt: skip
    """Some planes [PLANE] of all images: scale * GELU(a) + shift; NUMBERS is PLANE or more."""
    plane, number = tl.program_id(0) * PLANES + tl.arange(0, PLANES), tl.arange(0, NUMBERS)
    c = plane % channels
    at, within = plane.to(tl.int64)[:, None] * PLANE + number[None, :], (plane < planes)[:, None] & (number < PLANE)
    values = gelu(tl.load(a + at, mask=within, other=0.0).to(tl.float32))
    values = tl.load(norm + c)[:, None] * values + tl.load(norm + channels + c)[:, None]
    tl.store(out + at, values.to(out.dtype.element_ty), mask=within)


@triton.jit
def _finish_moments(
    parts, gamma, beta, mean, variance, norm, n_parts, all_units, channels,
    EPSILON: tl.constexpr, UNITS: tl.constexpr, NUMBERS: tl.constexpr, PARTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Mean, variance, scale and shift of some channels, from parts [n_parts, channels, 2] of a BatchNorm's input.

    A part is of UNITS units (the last one of fewer), a unit of NUMBERS numbers.
    """
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    n = all_units * 1.0 * NUMBERS
    total, squares = tl.zeros([PARTS, CHANNELS], tl.float32), tl.zeros([PARTS, CHANNELS], tl.float32)
    for first in range(0, n_parts, PARTS):
        part = first + tl.arange(0, PARTS)
        within = (part < n_parts)[:, None] & (c < channels)[None, :]
        size = (tl.minimum(all_units - part * UNITS, UNITS) * NUMBERS).to(tl.float32)[:, None]
        total += size * tl.load(parts + (part[:, None] * channels + c[None, :]) * 2, mask=within, other=0.0)
    middle = tl.sum(total, 0) / n
    for first in range(0, n_parts, PARTS):
        part = first + tl.arange(0, PARTS)
        within = (part < n_parts)[:, None] & (c < channels)[None, :]
        size = (tl.minimum(all_units - part * UNITS, UNITS) * NUMBERS).to(tl.float32)[:, None]
        at = parts + (part[:, None] * channels + c[None, :]) * 2
        far = tl.load(at, mask=within, other=0.0) - middle[None, :]
        squares += tl.where(within, tl.load(at + 1, mask=within, other=0.0) + size * far * far, 0.0)
    spread = tl.sum(squares, 0) / n
    there = c < channels
    scale = tl.load(gamma + c, mask=there, other=0.0).to(tl.float32) / tl.sqrt(spread + EPSILON)
    tl.store(mean + c, middle, mask=there)
    tl.store(variance + c, spread, mask=there)
    tl.store(norm + c, scale, mask=there)
    tl.store(norm + channels + c, tl.load(beta + c, mask=there, other=0.0).to(tl.float32) - middle * scale, mask=there)


@triton.jit
def _finish_slopes(
    parts, gamma, mean, variance, dgamma, dbeta, norm, n_parts, numbers, channels,
    EPSILON: tl.constexpr, PARTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A BatchNorm's gradients of some channels, and the three numbers of `before_norm`, from parts of its two sums."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    there = c < channels
    plain, moved = tl.zeros([PARTS, CHANNELS], tl.float32), tl.zeros([PARTS, CHANNELS], tl.float32)
    for first in range(0, n_parts, PARTS):
        part = first + tl.arange(0, PARTS)
        within = (part < n_parts)[:, None] & there[None, :]
        at = parts + (part[:, None] * channels + c[None, :]) * 2
        plain += tl.load(at, mask=within, other=0.0)
        moved += tl.load(at + 1, mask=within, other=0.0)
    slope, slope_times_far = tl.sum(plain, 0), tl.sum(moved, 0)
    deviation = tl.sqrt(tl.load(variance + c, mask=there, other=1.0) + EPSILON)
    scale = tl.load(gamma + c, mask=there, other=0.0).to(tl.float32) / deviation
    n = numbers * 1.0
    of_gelu = -scale * slope_times_far / (deviation * deviation * n)
    constant = -scale * slope / n - of_gelu * tl.load(mean + c, mask=there, other=0.0)
    tl.store(dgamma + c, slope_times_far / deviation, mask=there)
    tl.store(dbeta + c, slope, mask=there)
    tl.store(norm + c, scale, mask=there)
    tl.store(norm + channels + c, of_gelu, mask=there)
    tl.store(norm + 2 * channels + c, constant, mask=there)


class Moments(NamedTuple):
    """Moments of GELU, in parts [n, channels, 2]: each of `units` units, a unit of `numbers` numbers of a channel."""

    parts: Tensor
    units: int
    numbers: int


class Norm(NamedTuple):
    """A BatchNorm in training: mean and variance of its input [channels]; scale and shift [2, channels]."""

    mean: Tensor
    variance: Tensor
    affine: Tensor


def norm_of(moments: Moments, like: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Norm:
    """The BatchNorm of GELU of a tensor like `like`, whose moments these are."""
    channels = len(gamma)
    mean, variance, affine = (like.new_empty(*shape, channels, dtype=torch.float32) for shape in ((), (), (2,)))
    units = like.numel() // channels // moments.numbers
    sizes = (len(moments.parts), units, channels, epsilon, moments.units, moments.numbers, PARTS, CHANNELS)
    with torch.cuda.device_of(like):
        grid = (triton.cdiv(channels, CHANNELS),)
        _finish_moments[grid](moments.parts, gamma, beta, mean, variance, affine, *sizes, num_warps=4)
    return Norm(mean, variance, affine)


def normalise(a: Tensor, norm: Norm) -> Tensor:
    """BatchNorm of GELU(a)."""
    out, plane = torch.empty_like(a), a.shape[2:].numel()
    planes, numbers = a.numel() // plane, triton.next_power_of_2(plane)
    at_once = max(1, NUMBERS // numbers)
    with torch.cuda.device_of(a):
        grid = (triton.cdiv(planes, at_once),)
        _normalise[grid](a, norm.affine, out, planes, a.shape[1], plane, at_once, numbers, num_warps=4)
    return out


class Slopes(NamedTuple):
    """A BatchNorm's gradients of its weight and bias, and the numbers [3, channels] of `before_norm`."""

    gamma: Tensor
    beta: Tensor
    before: Tensor


def slope_sums(gradient: Tensor, a: Tensor, mean: Tensor) -> Tensor:
    """Parts [n, channels, 2] of the two sums that a BatchNorm's gradient needs."""
    channels, plane, places = a.shape[1], a.shape[2:].numel(), a.numel() // a.shape[1]
    n = triton.cdiv(places, NUMBERS * STEPS)
    parts = a.new_empty(n, channels, 2, dtype=torch.float32)
    with torch.cuda.device_of(a):
        _sum_slopes[(n * channels,)](gradient, a, mean, parts, places, channels, plane, NUMBERS, STEPS, num_warps=4)
    return parts


def slopes_of(parts: Tensor, like: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, epsilon: float) -> Slopes:
    """The gradients of a BatchNorm's parameters, float32, and of its input."""
    channels = len(gamma)
    dgamma, dbeta, norm = (like.new_empty(*shape, channels, dtype=torch.float32) for shape in ((), (), (3,)))
    sizes = (len(parts), like.numel() // channels, channels, epsilon, PARTS, CHANNELS)
    with torch.cuda.device_of(like):
        grid = (triton.cdiv(channels, CHANNELS),)
        _finish_slopes[grid](parts, gamma, mean, variance, dgamma, dbeta, norm, *sizes, num_warps=4)
    return Slopes(dgamma, dbeta, norm)
