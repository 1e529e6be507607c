"""The products of a ConvMixer layer in Triton, joined with what comes before and after them.

Four tensors of a layer's size stay for the backward pass: x, a1, z, a2. GELU is computed again where it is needed.

    a1 = depth-wise(x) + bias          triton_depthwise, with the moments of GELU(a1)
    z  = x + BatchNorm(GELU(a1))       on the way into the product
    a2 = matrix @ z + bias             `_mix`, with the moments of GELU(a2)
    y  = BatchNorm(GELU(a2))           `triton_norm._normalise`

The two sums that the gradient of the first BatchNorm needs are found with the product that makes the gradient of its
result (`_mix_gradient`); those of the second one in a pass of their own (`triton_norm._sum_slopes`).

Tensors are NCHW. Sums are in float32, of parts in a fixed order, nothing is added atomically: the bits are the same
from run to run. Never run on a GPU yet: none was available. It is tested as triton_depthwise is.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from convmixer.model.kernels.triton_gelu import before_norm, gelu
from convmixer.model.kernels.triton_norm import Moments, Norm, Slopes


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
