"""Depth-wise convolution and its gradients in Triton, as products of matrices, which a GPU is made for.

A row of a plane, `x[y, :]`, times a matrix made of one row of the filter is that row's part of the convolution:

    out[y, :] = sum over ky of x[y + ky - before, :] @ M[ky],    M[ky][i, o] = filter[ky, i - o + before]

where i - o + before is within the filter, else 0 (a Toeplitz matrix). The gradient of x is the same with the filter
turned by half a turn. That of the filter is a sum along the diagonals of

    S[ky] = sum over images and y of x[y + ky - before, :]^T @ gradient[y, :]

The arithmetic of a pixel grows with k and with the width, not with k squared. Products and sums are float32, tensors
NCHW. Nothing is added atomically, so the bits are the same from run to run.

Never run on a GPU yet: none was available. It is tested in Triton's interpreter (`TRITON_INTERPRET=1`) on the CPU, and
compiled for three generations of GPUs.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from convmixer.model.kernels.triton_gelu import before_norm, gelu, sum_of_all

PROGRAMS = 1024  # that share the work on the filters' gradient; their number decides how sums are rounded


class Tile(NamedTuple):
    """Rows of planes that a program takes at a time, the rows of a filter it is for, and the warps that compute it."""

    rows: int
    kys: int
    warps: int


@triton.jit
def _convolve(
    x, filters, bias, residual, out, moments, rows, channels,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, KERNEL: tl.constexpr, BEFORE: tl.constexpr, TURNED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Some rows of one channel's planes, of all images; filters [channels, KERNEL, KERNEL].

    `bias` [channels], `residual`, which is added and is as `out`, and `moments` may be None. The last, [programs of a
    channel, channels, 2], get the mean of GELU of these rows, and the sum of its squared distances from it.
    """
    c, first = tl.program_id(0) % channels, tl.program_id(0) // channels * ROWS
    row, column = first + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    y = row % HEIGHT
    places = ((row // HEIGHT).to(tl.int64) * channels + c) * (HEIGHT * WIDTH) + y * WIDTH
    places = places[:, None] + column[None, :]
    within = (row < rows)[:, None] & (column < WIDTH)[None, :]
    kx = column[:, None] - column[None, :] + BEFORE
    in_filter = (kx >= 0) & (kx < KERNEL)
    if residual is None:
        total = tl.zeros([ROWS, COLUMNS], tl.float32)
    else:
        total = tl.load(residual + places, mask=within, other=0.0).to(tl.float32)
    for ky in tl.static_range(KERNEL):
        there = (y + (ky - BEFORE) >= 0) & (y + (ky - BEFORE) < HEIGHT)
        pixels = tl.load(x + places + (ky - BEFORE) * WIDTH, mask=within & there[:, None], other=0.0)
        tap = ky * KERNEL + kx
        if TURNED:
            tap = KERNEL * KERNEL - 1 - tap
        matrix = tl.load(filters + c * (KERNEL * KERNEL) + tap, mask=in_filter, other=0.0)
        total = tl.dot(pixels, matrix.to(pixels.dtype), total, input_precision="tf32x3")
    if bias is not None:
        total += tl.load(bias + c).to(tl.float32)
    rounded = total.to(out.dtype.element_ty)
    tl.store(out + places, rounded, mask=within)
    if moments is not None:
        values = tl.where(within, gelu(rounded.to(tl.float32)), 0.0)
        mean = sum_of_all(values, ROWS * COLUMNS) / (tl.minimum(rows - first, ROWS) * WIDTH)
        far = tl.where(within, values - mean, 0.0)
        tl.store(moments + tl.program_id(0) * 2, mean)
        tl.store(moments + tl.program_id(0) * 2 + 1, sum_of_all(far * far, ROWS * COLUMNS))


@triton.jit
def _filter_gradient(
    x, gradient, a, norm, da, parts, rows, channels, rows_each,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, KERNEL: tl.constexpr, BEFORE: tl.constexpr, KYS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """KYS rows of a filter's gradient over a part of all images' rows; parts [parts, channels, KERNEL * KERNEL + 1].

    The S[ky] of a program lie under one another. All programs of axis 1 have more rows than a filter has, so the last
    of them is free: there the input is 1, which makes the sum of the gradient, the bias's.

    `a` is None, or the convolution's result, and GELU and a BatchNorm come after it: then `gradient` is that of the
    BatchNorm's result, `norm` [3, channels] leads to that of `a`, and this goes to `da` as well.
    """
    c, part = tl.program_id(0) % channels, tl.program_id(0) // channels
    m, column, ky_of = tl.arange(0, KYS * COLUMNS), tl.arange(0, COLUMNS), tl.program_id(1) * KYS + tl.arange(0, KYS)
    ky, i = tl.program_id(1) * KYS + m // COLUMNS, m % COLUMNS
    is_last = tl.program_id(1) == tl.num_programs(1) - 1
    is_ones = is_last & (m == KYS * COLUMNS - 1)
    in_plane = (ky < KERNEL) & (i < WIDTH)
    ours = tl.where(tl.program_id(1) == 0, rows, 0)  # of `da`
    total = tl.zeros([KYS * COLUMNS, COLUMNS], tl.float32)
    for first in range(part * rows_each, (part + 1) * rows_each, ROWS):
        row = first + tl.arange(0, ROWS)
        y = row % HEIGHT
        places = ((row // HEIGHT).to(tl.int64) * channels + c) * (HEIGHT * WIDTH) + y * WIDTH
        within = (row < rows)[:, None] & (column < WIDTH)[None, :]
        slopes = tl.load(gradient + places[:, None] + column[None, :], mask=within, other=0.0)
        if a is not None:
            before = tl.load(a + places[:, None] + column[None, :], mask=within, other=0.0).to(tl.float32)
            scale, of_gelu = tl.load(norm + c), tl.load(norm + channels + c)
            slope = before_norm(slopes.to(tl.float32), before, scale, of_gelu, tl.load(norm + 2 * channels + c))
            slopes = tl.where(within, slope, 0.0).to(da.dtype.element_ty)
            tl.store(da + places[:, None] + column[None, :], slopes, mask=within & (row < ours)[:, None])
        above = y[None, :] + (ky - BEFORE)[:, None]
        there = in_plane[:, None] & (row < rows)[None, :] & (above >= 0) & (above < HEIGHT)
        offset = (ky - BEFORE) * WIDTH + i
        pixels = tl.load(x + places[None, :] + offset[:, None], mask=there, other=0.0)
        pixels = tl.where(is_ones[:, None], 1.0, pixels).to(slopes.dtype)
        total = tl.dot(pixels, slopes, total, input_precision="tf32x3")
    base = parts + (part * channels + c).to(tl.int64) * (KERNEL * KERNEL + 1)
    for kx in tl.static_range(KERNEL):
        diagonal = i[:, None] - column[None, :] + BEFORE == kx
        on_it = tl.reshape(tl.where(diagonal, total, 0.0), [KYS, COLUMNS, COLUMNS])
        sums = tl.sum(tl.sum(on_it, 2), 1)
        tl.store(base + ky_of * KERNEL + kx, sums, mask=ky_of < KERNEL)
    slope = sum_of_all(tl.where(is_ones[:, None], total, 0.0), KYS * COLUMNS * COLUMNS)
    tl.store(base + KERNEL * KERNEL, slope, mask=is_last)


def columns_of(width: int) -> int:
    """Return the columns of the matrices: a power of two, and at least what tensor cores take."""
    return max(16, triton.next_power_of_2(width))


def convolution_tile(width: int, kernel: int, dtype: torch.dtype) -> Tile:
    is_wide = columns_of(width) == 64
    return Tile(128 if dtype.itemsize == 2 else 16 if is_wide else 32, kernel, 8 if is_wide else 4)


def gradient_tile(width: int, kernel: int, dtype: torch.dtype) -> Tile:
    """Sums, kys * columns * columns, stay in registers; twice (kys + 1) * columns * rows numbers in shared memory."""
    columns = columns_of(width)
    kys = min(triton.next_power_of_2(kernel + 1), (16384 if dtype.itemsize == 2 else 4096) // columns**2)
    rows = 16 if dtype.itemsize == 4 else 64 if kys * columns <= 256 else 32
    return Tile(rows, kys, 4 if kys * columns**2 <= 4096 and dtype.itemsize == 2 else 8)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [batch, channels, height, width], weight [channels, 1, k, k], bias [channels] -> like x, NCHW."""
    return _convolved(x, weight, bias, (weight.shape[-1] - 1) // 2, is_turned=False)


def forward_with_moments(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, int]:
    """As `forward`; also moments of GELU of it, [parts, channels, 2], each of so many rows of planes (the last: fewer).

    A part's are the mean, and the sum of squared distances from it.
    """
    batch, channels, height, width = x.shape
    rows = convolution_tile(width, weight.shape[-1], x.dtype).rows
    moments = x.new_empty(triton.cdiv(batch * height, rows), channels, 2, dtype=torch.float32)
    out = _convolved(x, weight, bias, (weight.shape[-1] - 1) // 2, is_turned=False, moments=moments)
    return out, moments, rows


def input_gradient(gradient: Tensor, weight: Tensor, residual: Tensor | None = None) -> Tensor:
    """The gradient of x, NCHW, and `residual` added to it."""
    return _convolved(gradient, weight, None, weight.shape[-1] // 2, is_turned=True, residual=residual)


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    before: int,
    is_turned: bool,
    residual: Tensor | None = None,
    moments: Tensor | None = None,
) -> Tensor:
    batch, channels, height, width = x.shape
    x, weight, bias = x.contiguous(), weight.contiguous(), None if bias is None else bias.contiguous()
    out, kernel = torch.empty_like(x), weight.shape[-1]
    tile = convolution_tile(width, kernel, x.dtype)
    sizes = (height, width, kernel, before, is_turned, tile.rows, columns_of(width))
    if x.numel():
        grid = (channels * triton.cdiv(batch * height, tile.rows),)
        tensors = (x, weight, bias, residual, out, moments)
        with torch.cuda.device_of(x):
            _convolve[grid](*tensors, batch * height, channels, *sizes, num_warps=tile.warps)
    return out


def weight_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias, in the weight's type; that of the weight lies in memory as the weight does."""
    return _weight_gradients(gradient, x, weight, None, None, None)


def gradients_before_norm(
    gradient: Tensor, a: Tensor, norm: Tensor, x: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the convolution's result `a`, weight and bias, where GELU and a BatchNorm come after it.

    Args:
        gradient: of BatchNorm's result, NCHW as `a` and `x`.
        norm: [3, channels], of `triton_gelu.before_norm`.
    """
    da = torch.empty_like(a)
    return da, *_weight_gradients(gradient, x, weight, a, norm, da)


def _weight_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, a: Tensor | None, norm: Tensor | None, da: Tensor | None
) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = x.shape
    x, gradient, kernel = x.contiguous(), gradient.contiguous(), weight.shape[-1]
    tile = gradient_tile(width, kernel, x.dtype)
    tiles = triton.cdiv(batch * height, tile.rows)
    n_parts = max(1, min(tiles, PROGRAMS // channels))
    rows_each = triton.cdiv(tiles, n_parts) * tile.rows
    parts = x.new_zeros(n_parts, channels, kernel * kernel + 1, dtype=torch.float32)
    sizes = (rows_each, height, width, kernel, (kernel - 1) // 2, tile.kys, tile.rows, columns_of(width))
    grid = (channels * n_parts, triton.cdiv(kernel + 1, tile.kys))
    if x.numel():
        tensors = (x, gradient, a, norm, da, parts)
        with torch.cuda.device_of(x):
            _filter_gradient[grid](*tensors, batch * height, channels, *sizes, num_warps=tile.warps, num_stages=2)
    sums = parts.sum(0)
    dweight = torch.empty_like(weight).copy_(sums[:, :-1].view(weight.shape))
    return dweight, sums[:, -1].to(weight.dtype).contiguous()
