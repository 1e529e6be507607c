"""What a ConvMixer layer does beside its depth-wise convolution, in Triton, joined with its products of matrices.

Four tensors of a layer's size stay for the backward pass: x, a1, z, a2. GELU is computed again where it is needed.

    a1 = depth-wise(x) + bias          triton_depthwise, with the moments of GELU(a1)
    z  = x + BatchNorm(GELU(a1))       on the way into the product
    a2 = matrix @ z + bias             `_mix`, with the moments of GELU(a2)
    y  = BatchNorm(GELU(a2))           `_normalise`

A BatchNorm is `scale * GELU(a) + shift`; its gradient is linear too (`triton_gelu.before_norm`), once two sums over
the batch are known: of the gradient of its result, and of that times GELU(a) less its mean. For the first BatchNorm
they are found with the product that makes this gradient (`_mix_gradient`), for the second in a pass of their own
(`_sum_slopes`).

Tensors are NCHW. Sums are in float32, of parts in a fixed order, nothing is added atomically: the bits are the same
from run to run. Never run on a GPU yet: none was available. It is tested as triton_depthwise is.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from convmixer.model.kernels.triton_gelu import before_norm, gelu

NUMBERS, STEPS = 1024, 8  # of a step of `_sum_slopes`, and steps of a program; numbers of a program of `_normalise`
PARTS, CHANNELS = 128, 16  # that a program adds up at a time


class Tile(NamedTuple):
    """Channels and places that a program's product gives, the channels it sums at a time, its warps and stages."""

    channels: int
    places: int
    step: int
    warps: int
    stages: int


def product_tile(channels: int, dtype: torch.dtype) -> Tile:
    most = min(256, max(16, triton.next_power_of_2(channels)))
    if dtype.itemsize == 4:
        return Tile(min(64, most), 64, 16, 4, 2)
    return Tile(most, 64, 32, 8, 3)


@triton.jit
def _mix(
    x, a1, norm, matrix, bias, z, a2, moments, places, channels,
    PLANE: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Some channels of some places, of all images: z = x + scale * GELU(a1) + shift, and a2 = matrix @ z + bias.

    norm [2, channels]: scale, shift. moments [parts, channels, 2] get mean and squared distances of GELU(a2).
    """
    blocks = tl.cdiv(channels, CHANNELS)
    tile, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    place, o = tile * PLACES + tl.arange(0, PLACES), block * CHANNELS + tl.arange(0, CHANNELS)
    of_image = (place // PLANE).to(tl.int64) * channels * PLANE + place % PLANE
    ours = tl.where(block == 0, places, 0)  # the first of a place's programs writes what all of them compute
    total = tl.zeros([CHANNELS, PLACES], tl.float32)
    for first in range(0, channels, STEP):
        c = first + tl.arange(0, STEP)
        at, within = of_image[None, :] + c[:, None] * PLANE, (c < channels)[:, None] & (place < places)[None, :]
        before = tl.load(a1 + at, mask=within, other=0.0).to(tl.float32)
        scale = tl.load(norm + c, mask=c < channels, other=0.0)[:, None]
        shift = tl.load(norm + channels + c, mask=c < channels, other=0.0)[:, None]
        value = tl.load(x + at, mask=within, other=0.0).to(tl.float32) + scale * gelu(before) + shift
        mixed = tl.where(within, value, 0.0).to(z.dtype.element_ty)
        tl.store(z + at, mixed, mask=within & (place < ours)[None, :])
        in_matrix = (o < channels)[:, None] & (c < channels)[None, :]
        weights = tl.load(matrix + o[:, None] * channels + c[None, :], mask=in_matrix, other=0.0)
        total = tl.dot(weights, mixed, total, input_precision="tf32x3")
    total += tl.load(bias + o, mask=o < channels, other=0.0).to(tl.float32)[:, None]
    within = (o < channels)[:, None] & (place < places)[None, :]
    rounded = total.to(a2.dtype.element_ty)
    tl.store(a2 + of_image[None, :] + o[:, None] * PLANE, rounded, mask=within)
    values = tl.where(within, gelu(rounded.to(tl.float32)), 0.0)
    mean = tl.sum(values, 1) / tl.minimum(places - tile * PLACES, PLACES)
    far = tl.where(within, values - mean[:, None], 0.0)
    part = moments + (tile * channels + o) * 2
    tl.store(part, mean, mask=o < channels)
    tl.store(part + 1, tl.sum(far * far, 1), mask=o < channels)


@triton.jit
def _mix_gradient(
    gradient, a2, norm, matrix, a1, mean1, da2, dz, sums, bias_sums, places, channels,
    PLANE: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Some channels of some places, of all images: da2, through BatchNorm and GELU, and dz = matrix^T @ da2.

    norm [3, channels], of `before_norm`. sums [parts, channels, 2] get the sum of dz, and of dz * (GELU(a1) - mean1);
    bias_sums [parts, channels] the sum of da2.
    """
    blocks = tl.cdiv(channels, CHANNELS)
    tile, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    place, c = tile * PLACES + tl.arange(0, PLACES), block * CHANNELS + tl.arange(0, CHANNELS)
    of_image = (place // PLANE).to(tl.int64) * channels * PLANE + place % PLANE
    ours = tl.where(block == 0, places, 0)  # the first of a place's programs writes what all of them compute
    total = tl.zeros([CHANNELS, PLACES], tl.float32)
    for first in range(0, channels, STEP):
        o = first + tl.arange(0, STEP)
        at, within = of_image[None, :] + o[:, None] * PLANE, (o < channels)[:, None] & (place < places)[None, :]
        slope = tl.load(gradient + at, mask=within, other=0.0).to(tl.float32)
        before = tl.load(a2 + at, mask=within, other=0.0).to(tl.float32)
        scale = tl.load(norm + o, mask=o < channels, other=0.0)[:, None]
        of_gelu = tl.load(norm + channels + o, mask=o < channels, other=0.0)[:, None]
        constant = tl.load(norm + 2 * channels + o, mask=o < channels, other=0.0)[:, None]
        slope = tl.where(within, before_norm(slope, before, scale, of_gelu, constant), 0.0)
        rounded = slope.to(da2.dtype.element_ty)
        tl.store(da2 + at, rounded, mask=within & (place < ours)[None, :])
        bias_sum = tl.sum(rounded.to(tl.float32), 1)
        tl.store(bias_sums + tile * channels + o, bias_sum, mask=o < tl.where(block == 0, channels, 0))
        in_matrix = (c < channels)[:, None] & (o < channels)[None, :]
        weights = tl.load(matrix + o[None, :] * channels + c[:, None], mask=in_matrix, other=0.0)
        total = tl.dot(weights, rounded, total, input_precision="tf32x3")
    at, within = of_image[None, :] + c[:, None] * PLANE, (c < channels)[:, None] & (place < places)[None, :]
    rounded = total.to(dz.dtype.element_ty)
    tl.store(dz + at, rounded, mask=within)
    mean = tl.load(mean1 + c, mask=c < channels, other=0.0)[:, None]
    slope = tl.where(within, rounded.to(tl.float32), 0.0)
    far = gelu(tl.load(a1 + at, mask=within, other=0.0).to(tl.float32)) - mean
    part = sums + (tile * channels + c) * 2
    tl.store(part, tl.sum(slope, 1), mask=c < channels)
    tl.store(part + 1, tl.sum(slope * far, 1), mask=c < channels)


@triton.jit
def _sum_slopes(
    gradient, a, mean, sums, places, channels, PLANE: tl.constexpr, NUMBERS: tl.constexpr, STEPS: tl.constexpr
):  # fmt: skip
    """Of some places of one channel, of all images: the sum of the gradient, and of it times GELU(a) - mean."""
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


def mix(x: Tensor, a1: Tensor, norm: Norm, matrix: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Moments]:
    """z, a2, and the moments of GELU(a2); matrix [channels, channels], in the type of x."""
    channels, plane, places = x.shape[1], x.shape[2:].numel(), x.numel() // x.shape[1]
    z, a2, tile = torch.empty_like(x), torch.empty_like(x), product_tile(channels, x.dtype)
    tiles = triton.cdiv(places, tile.places)
    parts = x.new_empty(tiles, channels, 2, dtype=torch.float32)
    sizes = (places, channels, plane, tile.channels, tile.places, tile.step)
    with torch.cuda.device_of(x):
        grid = (tiles * triton.cdiv(channels, tile.channels),)
        _mix[grid](
            *(x, a1, norm.affine, matrix, bias, z, a2, parts), *sizes, num_warps=tile.warps, num_stages=tile.stages
        )
    return z, a2, Moments(parts, tile.places, 1)


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


def mix_gradient(
    gradient: Tensor, a2: Tensor, slopes: Slopes, matrix: Tensor, a1: Tensor, mean1: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """da2, dz, parts of the sums of the first BatchNorm's gradient, and the gradient of the bias [channels]."""
    channels, plane, places = a2.shape[1], a2.shape[2:].numel(), a2.numel() // a2.shape[1]
    da2, dz, tile = torch.empty_like(a2), torch.empty_like(a2), product_tile(channels, a2.dtype)
    tiles = triton.cdiv(places, tile.places)
    parts = a2.new_empty(tiles, channels, 2, dtype=torch.float32)
    bias_parts = a2.new_empty(tiles, channels, dtype=torch.float32)
    tensors = (gradient, a2, slopes.before, matrix, a1, mean1, da2, dz, parts, bias_parts)
    sizes = (places, channels, plane, tile.channels, tile.places, tile.step)
    with torch.cuda.device_of(a2):
        grid = (tiles * triton.cdiv(channels, tile.channels),)
        _mix_gradient[grid](*tensors, *sizes, num_warps=tile.warps, num_stages=tile.stages)
    return da2, dz, parts, bias_parts.sum(0)
