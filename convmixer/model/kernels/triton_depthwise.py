"""Depth-wise convolution and its gradients in Triton: channels_last; float32, bfloat16, float16; sums in float32.

`forward_gelu` and `residual` are for the whole layer in triton_layer.py.

Never run on a GPU yet: none was at hand. Tested in Triton's interpreter (`TRITON_INTERPRET=1`), on the CPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convmixer.model.kernels.memory import in_order, like

PIXELS = 16  # of a row, that a program computes
CHANNELS = 64
CHUNKS = 32  # parts of the batch's rows whose sums are made apart, for the filters' gradient


@triton.jit
def gelu(a):
    """GELU and its derivative."""
    below = 0.5 * (1.0 + tl.math.erf(a * 0.7071067811865476))
    return a * below, below + a * tl.exp(-0.5 * a * a) * 0.3989422804014327


@triton.jit
def store_moments(value, there, moments, block, channels, c):
    """Mean, and sum of squared distances from it, of a block's rows; moments [blocks, 2, channels]."""
    n = tl.sum(there.to(tl.float32), axis=0)
    mean = tl.sum(tl.where(there[:, None], value, 0.0), axis=0) / n
    distance = tl.where(there[:, None], value - mean[None, :], 0.0)
    tl.store(moments + 2 * block * channels + c, mean, mask=c < channels)
    tl.store(moments + (2 * block + 1) * channels + c, tl.sum(distance * distance, axis=0), mask=c < channels)


@triton.jit
def _convolve(
    x, taps, bias, residual, out, slope, moments, height, width, channels, before,
    KERNEL: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, GELU: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Some pixels of a row of an image [height, width, channels]; taps [KERNEL * KERNEL, channels].

    With GELU that of the result is written to `out`, the derivative to `slope`, and moments as in `store_moments`.
    """
    row = tl.program_id(0)  # of all images' rows
    y = row % height
    columns = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros([PIXELS, CHANNELS], dtype=tl.float32)
    for ky in range(KERNEL):
        end = tl.where((y + ky - before >= 0) & (y + ky - before < height), width, 0)
        start = (row + ky - before).to(tl.int64) * width
        for kx in range(KERNEL):
            column = columns + kx - before
            there = (column >= 0) & (column < end)
            places = (start + column[:, None]) * channels + c[None, :]
            pixel = tl.load(x + places, mask=there[:, None] & (c < channels)[None, :], other=0.0)
            tap = tl.load(taps + (ky * KERNEL + kx) * channels + c, mask=c < channels, other=0.0)
            total += pixel.to(tl.float32) * tap.to(tl.float32)[None, :]
    if HAS_BIAS:
        total += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    places = (row.to(tl.int64) * width + columns[:, None]) * channels + c[None, :]
    mask = (columns < width)[:, None] & (c < channels)[None, :]
    if HAS_RESIDUAL:
        total += tl.load(residual + places, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        total, derivative = gelu(total)
        tl.store(slope + places, derivative.to(slope.dtype.element_ty), mask=mask)
        block = row * tl.num_programs(1) + tl.program_id(1)
        store_moments(total, columns < width, moments, block, channels, c)
    tl.store(out + places, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _filter_gradient(
    x, slopes, parts, rows, height, channels, before,
    CHUNK_ROWS: tl.constexpr, WIDTH: tl.constexpr, KERNEL: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One tap's sum over a chunk of all rows; parts [chunks, KERNEL * KERNEL, channels], float32."""
    chunk, tap = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    down, right = tap // KERNEL - before, tap % KERNEL - before
    total = tl.zeros([PIXELS, CHANNELS], dtype=tl.float32)
    for i in range(CHUNK_ROWS):
        row = chunk * CHUNK_ROWS + i
        y = row % height
        own_end = tl.where(row < rows, WIDTH, 0)
        end = tl.where((y + down >= 0) & (y + down < height), own_end, 0)
        for first in range(0, WIDTH, PIXELS):
            columns = first + tl.arange(0, PIXELS)
            here = (columns < own_end)[:, None] & (c < channels)[None, :]
            there = ((columns + right >= 0) & (columns + right < end))[:, None] & here
            start = tl.cast(row, tl.int64) * WIDTH
            slope = tl.load(slopes + (start + columns[:, None]) * channels + c[None, :], mask=here, other=0.0)
            places = (start + down * WIDTH + columns[:, None] + right) * channels + c[None, :]
            total += slope.to(tl.float32) * tl.load(x + places, mask=there, other=0.0).to(tl.float32)
    places = (chunk * KERNEL * KERNEL + tap) * channels + c
    tl.store(parts + places, tl.sum(total, axis=0), mask=c < channels)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [batch, channels, height, width], weight [channels, 1, k, k], bias [channels] -> like x."""
    return _convolved(in_order(x), weight, bias)


def forward_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """GELU of `forward`, its derivative there, and its moments, [blocks, 2, channels], of blocks of [blocks] pixels."""
    batch, channels, height, width = x.shape
    parts = triton.cdiv(width, PIXELS)
    slope, moments = like(x), torch.empty(batch * height * parts, 2, channels, device=x.device)
    value = _convolved(in_order(x), weight, bias, slope=slope, moments=moments)
    sizes = torch.full((batch * height, parts), PIXELS, device=x.device)
    sizes[:, -1] = width - (parts - 1) * PIXELS
    return value, slope, moments, sizes.flatten()


def input_gradient(gradient: Tensor, weight: Tensor, residual: Tensor | None = None) -> Tensor:
    """The gradient of x: the same convolution, with filters turned by half a turn. `residual` is added."""
    kernel = weight.shape[-1]
    return _convolved(in_order(gradient), weight.flip(2, 3), None, before=kernel // 2, residual=residual)


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    before: int | None = None,
    residual: Tensor | None = None,
    slope: Tensor | None = None,
    moments: Tensor | None = None,
) -> Tensor:
    batch, channels, height, width = x.shape
    out, kernel = like(x), weight.shape[-1]
    before = (kernel - 1) // 2 if before is None else before
    if x.numel():
        taps = weight.flatten(1).t().contiguous()
        grid = (batch * height, triton.cdiv(width, PIXELS), triton.cdiv(channels, CHANNELS))
        has = (bias is not None, residual is not None, slope is not None)
        sizes = (height, width, channels, before, kernel, *has, PIXELS, CHANNELS)
        _convolve[grid](x, taps, bias, residual, out, slope, moments, *sizes)
    return out


def weight_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias. Their bits are the same from run to run: no atomic additions."""
    gradient, x, kernel = in_order(gradient), in_order(x), weight.shape[-1]
    batch, channels, height, width = x.shape
    parts = torch.zeros(CHUNKS, kernel * kernel, channels, device=x.device)
    if x.numel():
        grid = (CHUNKS, kernel * kernel, triton.cdiv(channels, CHANNELS))
        rows = batch * height
        sizes = (rows, height, channels, (kernel - 1) // 2)
        sizes += (triton.cdiv(rows, CHUNKS), width, kernel, PIXELS, CHANNELS)
        _filter_gradient[grid](x, gradient, parts, *sizes)
    dweight = parts.sum(0).t().reshape(weight.shape)
    dbias = gradient.sum((0, 2, 3), dtype=torch.float32)
    return dweight.to(weight.dtype), dbias.to(weight.dtype)
